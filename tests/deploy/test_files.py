"""The files in deploy/ that no test runs, against the published schemas and against trunkline itself."""

import re
import shlex
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from trunkline.assembly.settings import read_settings
from trunkline.cli.arguments import parser

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BIN = ROOT / "build" / "balancers" / "bin"

ENVOY = """
import sys
import yaml
from envoy_data_plane.envoy.config.bootstrap.v3 import Bootstrap
# Messages are known once their modules are imported.
import envoy_data_plane.envoy.extensions.filters.http.router.v3
import envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3
import envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3
import envoy_data_plane.envoy.extensions.upstreams.http.v3
Bootstrap.from_dict(yaml.safe_load(sys.stdin.read()))
"""


def envoy(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BIN / "python", "-c", ENVOY], input=text, capture_output=True, text=True, timeout=50)


def kubernetes(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BIN / "kubernetes-validate", "--strict", path], capture_output=True, text=True, timeout=50)


def resources() -> dict[str, dict]:
    return {one["kind"]: one for one in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())}


def pod() -> dict:
    return resources()["Deployment"]["spec"]["template"]["spec"]


def test_envoy_takes_it_by_its_published_messages() -> None:
    text = (DEPLOY / "envoy.yaml").read_text()

    assert envoy(text).returncode == 0, envoy(text).stderr
    for wrong in (("num_retries", "number_retries"), ("lb_policy: ROUND_ROBIN", "lb_policy: ROUND_AND_ROUND")):
        assert wrong[0] in text
        assert envoy(text.replace(*wrong)).returncode != 0


def test_kubernetes_takes_it_by_its_published_schemas(tmp_path: Path) -> None:
    checked = kubernetes(DEPLOY / "kubernetes.yaml")

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert len(resources()) == 6
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text((DEPLOY / "kubernetes.yaml").read_text().replace("readinessProbe", "readynessProbe"))
    assert kubernetes(wrong).returncode != 0


def test_the_configuration_in_it_is_one_and_its_files_are_mounted(tmp_path: Path) -> None:
    text = resources()["ConfigMap"]["data"]["trunkline.yaml"]
    (tmp_path / "trunkline.yaml").write_text(text)

    assert read_settings(str(tmp_path / "trunkline.yaml")).faults == ()
    mounts = {mount["mountPath"] for mount in pod()["containers"][0]["volumeMounts"]}
    named = {Path(found) for found in re.findall(r"/run/secrets/[\w./-]+", text)}
    assert {str(path.parent) for path in named} <= mounts
    assert {path.name for path in named} == set(resources()["Secret"]["stringData"])


def test_a_pod_has_time_to_drain_and_is_asked_what_it_answers() -> None:
    (container,) = pod()["containers"]
    listen = yaml.safe_load(resources()["ConfigMap"]["data"]["trunkline.yaml"])["listen"]

    assert pod()["terminationGracePeriodSeconds"] >= listen["drain_delay"] + listen["drain_timeout"] + 15
    assert listen["drain_delay"] > container["readinessProbe"]["periodSeconds"] * 2
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == container["startupProbe"]["httpGet"]["path"] == "/livez"
    assert container["ports"][0]["containerPort"] == listen["port"]
    assert parser().parse_args(["up", *container["args"]]).target == "/etc/trunkline/trunkline.yaml"


@pytest.fixture
def instructions() -> list[tuple[str, str]]:
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines) if name and name != "#"]


def test_the_container_runs_trunkline_and_not_as_root(instructions: list[tuple[str, str]]) -> None:
    known = [
        "FROM",
        "WORKDIR",
        "COPY",
        "RUN",
        "ENV",
        "USER",
        "EXPOSE",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "ENTRYPOINT",
        "CMD",
    ]
    said = dict(instructions)

    assert {name for name, _ in instructions} == set(known)
    assert int(said["USER"].split(":")[0]) >= 10_000
    assert all(":" in rest.split("/")[-1] and ":latest" not in rest for name, rest in instructions if name == "FROM")
    words = [*yaml.safe_load(said["ENTRYPOINT"]), *yaml.safe_load(said["CMD"])]
    assert parser().parse_args(words[1:]).module == "up"
    for name, rest in instructions:
        *sources, _ = shlex.split(rest)
        if name == "COPY" and not rest.startswith("--from"):
            assert all((ROOT / source).exists() for source in sources)


@pytest.mark.parametrize(("status", "code"), [(200, 0), (500, 1)])
def test_the_health_check_of_the_container_asks_and_understands(
    instructions: list[tuple[str, str]], status: int, code: int
) -> None:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *arguments: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request).start()
        command = yaml.safe_load(dict(instructions)["HEALTHCHECK"].partition("CMD ")[2])
        command = [word.replace(":8808", f":{server.server_port}") for word in command]
        checked = subprocess.run([sys.executable, *command[1:]], capture_output=True, timeout=50)
    assert asked == ["/livez"]
    assert checked.returncode == code
