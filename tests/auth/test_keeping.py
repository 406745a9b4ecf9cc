"""Sign-ins are kept for their owner alone, and changed by one at a time."""

import asyncio
import json
import logging
import os
import resource
import signal
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backends.fail import Keyring as NoKeyring

from tests.auth.keyring_in_a_file import Keyring, chosen
from tests.storage.stages import Stage
from trunkline.auth.doors import TokenStore
from trunkline.auth.keeping import FileStore, MemoryStore, system_store
from trunkline.auth.system_key import SystemKey
from trunkline.auth.tokens import Kept, KeptNames, Registration, Tokens
from trunkline.engine.sealed import Keys
from trunkline.errors import ConfigError, SignInError

ISSUER, RESOURCE = "https://id.example.com", "https://mcp.example.com/mcp"
SECRETS = "s3cret-access", "s3cret-refresh", "s3cret-client", "s3cret-d"


def kept(issuer: str = ISSUER, resource: str = RESOURCE, access: str = "s3cret-access") -> Kept:
    return Kept(
        issuer=issuer,
        resource=resource,
        tokens=Tokens(access_token=access, refresh_token="s3cret-refresh", expires_at=2e9, scopes=frozenset({"read"})),
        registration=Registration(client_id="cli", client_secret="s3cret-client"),
        requested=frozenset({"read", "write"}),
        proof_key={"kty": "EC", "d": "s3cret-d"},
    )


@pytest.fixture(autouse=True)
def no_keyring() -> Iterator[None]:
    with chosen(NoKeyring()):
        yield


@pytest.fixture
def a_keyring(no_keyring: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A keyring, here and in child processes; the file its entries lie in."""
    place = tmp_path / "keyring"
    monkeypatch.setenv("KEYRING_IN_A_FILE", str(place))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "tests.auth.keyring_in_a_file.Keyring")
    keyring.set_keyring(Keyring())
    return place


def only(folder: Path, suffix: str = ".json") -> Path:
    (file,) = folder.glob(f"*{suffix}")
    return file


def in_memory(_: Path) -> TokenStore:
    return MemoryStore()


def in_files(folder: Path) -> TokenStore:
    return FileStore(folder)


def in_sealed_files(folder: Path) -> TokenStore:
    return FileStore(folder, lambda: Keys([b"k" * 32]))


stores = pytest.mark.parametrize("made", [in_memory, in_files, in_sealed_files])
Made = Callable[[Path], TokenStore]


@stores
async def test_a_sign_in_is_kept_under_its_issuer_and_resource_byte_for_byte(made: Made, tmp_path: Path) -> None:
    store = made(tmp_path / "kept")
    await store.save(kept())
    await store.save(kept(issuer=ISSUER + "/", access="of the other issuer"))
    await store.save(kept(resource=RESOURCE + "/", access="of the other resource"))

    assert await store.load(ISSUER, RESOURCE) == kept()
    assert await store.load(ISSUER + "/", RESOURCE) == kept(issuer=ISSUER + "/", access="of the other issuer")
    assert await store.load(ISSUER.upper(), RESOURCE) is None
    assert await store.list() == [
        KeptNames(ISSUER, RESOURCE),
        KeptNames(ISSUER, RESOURCE + "/"),
        KeptNames(ISSUER + "/", RESOURCE),
    ]

    await store.save(kept(access="newer"))
    assert (await store.load(ISSUER, RESOURCE)) == kept(access="newer")
    assert await store.forget(ISSUER, RESOURCE)
    assert not await store.forget(ISSUER, RESOURCE)
    assert await store.load(ISSUER, RESOURCE) is None
    assert len(await store.list()) == 2


@stores
async def test_tasks_change_a_sign_in_one_after_the_other(made: Made, tmp_path: Path) -> None:
    store = made(tmp_path / "kept")
    await store.save(kept(access="0"))

    async def add() -> None:
        async with store.lock(ISSUER, RESOURCE):
            held = await store.load(ISSUER, RESOURCE)
            assert held is not None and held.tokens is not None
            await store.save(kept(access=str(int(held.tokens.access_token) + 1)))

    async with store.lock(ISSUER, "https://elsewhere.example.com"):
        await asyncio.gather(*[add() for _ in range(10)])

    assert await store.load(ISSUER, RESOURCE) == kept(access="10")


@stores
async def test_nothing_secret_is_in_a_repr(made: Made, tmp_path: Path) -> None:
    store = made(tmp_path / "kept")
    await store.save(kept())

    shown = f"{store!r} {await store.list()!r} {await store.load(ISSUER, RESOURCE)!r}"
    assert not [secret for secret in SECRETS if secret in shown]


async def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "kept"
    before = os.umask(0)
    try:
        await FileStore(folder).save(kept())
        async with FileStore(folder).lock(ISSUER, RESOURCE):
            pass
    finally:
        os.umask(before)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.suffix: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {".json": 0o600, ".lock": 0o600}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610])
async def test_a_file_that_others_can_use_is_not_read(mode: int, tmp_path: Path) -> None:
    store = FileStore(tmp_path / "kept")
    await store.save(kept())
    only(tmp_path / "kept").chmod(mode)

    with pytest.raises(ConfigError, match=r"can be used by others.*chmod 600") as raised:
        await store.load(ISSUER, RESOURCE)
    assert not [secret for secret in SECRETS if secret in str(raised.value)]

    # To sign in again is a way out.
    await store.save(kept(access="new"))
    assert await store.load(ISSUER, RESOURCE) == kept(access="new")


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o720])
async def test_a_folder_that_others_can_write_to_is_not_used(mode: int, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    folder.chmod(mode)

    with pytest.raises(ConfigError, match="chmod 700"):
        await FileStore(folder).save(kept())
    with pytest.raises(ConfigError, match="chmod 700"):
        async with FileStore(folder).lock(ISSUER, RESOURCE):
            pass
    assert list(folder.iterdir()) == []


async def test_neither_links_nor_pipes_are_followed(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    store = FileStore(folder)
    await store.save(kept())
    file = only(folder)
    elsewhere = file.rename(tmp_path / "elsewhere")
    file.symlink_to(elsewhere)

    with pytest.raises(ConfigError, match="cannot be kept"):
        await store.load(ISSUER, RESOURCE)

    file.unlink()
    os.mkfifo(file, 0o600)
    with pytest.raises(ConfigError, match="is not a file"):
        await store.load(ISSUER, RESOURCE)


async def test_a_file_that_is_broken_is_told_without_what_is_in_it(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "kept")
    await store.save(kept())
    whole = only(tmp_path / "kept").read_bytes()
    for broken in (b"", whole[:-9], whole.replace(b'"issuer"', b'"tissuer"'), b'["s3cret-access"]', b"\xff"):
        only(tmp_path / "kept").write_bytes(broken)
        with pytest.raises(ConfigError, match="no sign-in that was kept") as raised:
            await store.load(ISSUER, RESOURCE)
        assert not [secret for secret in SECRETS if secret in repr(raised.value)]


async def test_a_broken_file_does_not_hide_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = FileStore(tmp_path / "kept")
    await store.save(kept())
    only(tmp_path / "kept").write_bytes(b"{")
    await store.save(kept(resource="https://other.example.com"))

    with caplog.at_level(logging.WARNING):
        assert await store.list() == [KeptNames(ISSUER, "https://other.example.com")]
    assert "no sign-in" in caplog.text


async def test_a_disk_that_is_full_leaves_what_was_kept(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "kept")
    await store.save(kept())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))
    try:
        with pytest.raises(ConfigError, match="cannot be kept"):
            await store.save(kept(access="new"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)

    assert await store.load(ISSUER, RESOURCE) == kept()
    assert [path.suffix for path in (tmp_path / "kept").iterdir()] == [".json"]


async def test_without_a_keyring_files_hold_it_as_it_is(tmp_path: Path) -> None:
    await system_store(tmp_path / "kept").save(kept())

    assert "s3cret-access" in only(tmp_path / "kept").read_text()
    assert await system_store(tmp_path / "kept").load(ISSUER, RESOURCE) == kept()


async def test_with_a_keyring_a_stolen_file_is_worth_nothing(tmp_path: Path, a_keyring: Path) -> None:
    await system_store(tmp_path / "kept").save(kept())

    text = only(tmp_path / "kept").read_text()
    assert not [secret for secret in SECRETS if secret in text]
    assert json.loads(text)["resource"] == RESOURCE
    assert await system_store(tmp_path / "kept").load(ISSUER, RESOURCE) == kept()
    assert list(json.loads(a_keyring.read_text())) == ["trunkline sign-ins"]

    keyring.set_keyring(NoKeyring())
    with pytest.raises(ConfigError, match=r"no keyring here.*trunkline logout"):
        await system_store(tmp_path / "kept").load(ISSUER, RESOURCE)
    # What is kept can still be named and removed.
    assert await system_store(tmp_path / "kept").list() == [KeptNames(ISSUER, RESOURCE)]
    assert await system_store(tmp_path / "kept").forget(ISSUER, RESOURCE)


async def test_the_keyring_is_read_again_by_other_processes(tmp_path: Path, a_keyring: Path) -> None:
    stages = [Stage("tests.auth.stage_keeping", str(tmp_path / "kept"), "save") for _ in range(3)]
    for stage in stages:
        assert stage.process.wait(30) == 0
        stage.kill()

    found = await system_store(tmp_path / "kept").load(ISSUER, RESOURCE)
    assert found == kept(access="from another process")


async def test_a_file_moved_to_another_name_is_not_taken_for_it(tmp_path: Path, a_keyring: Path) -> None:
    """Who can write to the folder could have a token sent to another server."""
    store = system_store(tmp_path / "kept")
    evil = "https://evil.example.com/mcp"
    await store.save(kept(resource=evil, access="of evil"))
    place = only(tmp_path / "kept")
    await store.forget(ISSUER, evil)
    await store.save(kept())
    stolen = json.loads(only(tmp_path / "kept").read_text())

    for member in (RESOURCE, evil):
        place.write_text(json.dumps({**stolen, "resource": member}))
        place.chmod(0o600)
        assert await store.load(ISSUER, evil) is None


async def test_an_unsealed_file_under_the_name_of_another_is_left_out(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "kept")
    await store.save(kept())
    name = only(tmp_path / "kept").name
    await store.forget(ISSUER, RESOURCE)
    await store.save(kept(resource="https://evil.example.com/mcp"))
    only(tmp_path / "kept").rename(tmp_path / "kept" / name)

    assert await store.load(ISSUER, RESOURCE) is None


class SlowKeyring(Keyring):
    """Takes its time after it has looked, as one that asks a person does."""

    def get_password(self, service: str, username: str) -> str | None:
        found = super().get_password(service, username)
        time.sleep(0.05)
        return found


async def test_two_who_need_the_first_key_at_once_make_one(tmp_path: Path, a_keyring: Path) -> None:
    keyring.set_keyring(SlowKeyring())
    rings = await asyncio.gather(*[asyncio.to_thread(SystemKey(tmp_path / "kept").ring) for _ in range(3)])

    (sealing, *others) = rings
    assert sealing is not None
    for ring in others:
        assert ring is not None and ring.open("p", b"", sealing.seal("p", b"", b"x")) == b"x"


async def test_what_the_keyring_lost_the_key_of_is_signed_in_anew(tmp_path: Path, a_keyring: Path) -> None:
    await system_store(tmp_path / "kept").save(kept())
    a_keyring.unlink()

    store = system_store(tmp_path / "kept")
    assert await store.load(ISSUER, RESOURCE) is None
    await store.save(kept(access="new"))
    assert await store.load(ISSUER, RESOURCE) == kept(access="new")


async def test_a_locked_keyring_is_no_reason_to_keep_tokens_unsealed(
    tmp_path: Path, a_keyring: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYRING_IN_A_FILE", str(tmp_path / "locked"))
    store = system_store(tmp_path / "kept")

    with pytest.raises(ConfigError, match=r"KeyringLocked.*unlock it, or") as raised:
        await store.load(ISSUER, RESOURCE)
    assert "s3cret" not in str(raised.value)
    with pytest.raises(ConfigError, match="KeyringLocked"):
        await store.save(kept())
    assert not (tmp_path / "kept").exists()


async def test_an_entry_that_is_no_key_is_told(tmp_path: Path, a_keyring: Path) -> None:
    a_keyring.write_text(json.dumps({"trunkline sign-ins": "s3cret"}))

    with pytest.raises(ConfigError, match="keyring del trunkline sign-ins") as raised:
        await system_store(tmp_path / "kept").save(kept())
    assert "s3cret" not in str(raised.value)


async def test_processes_change_a_sign_in_one_after_the_other(tmp_path: Path, a_keyring: Path) -> None:
    stages = [Stage("tests.auth.stage_keeping", str(tmp_path / "kept"), "count") for _ in range(3)]
    for stage in stages:
        assert stage.process.wait(50) == 0
        stage.kill()

    found = await system_store(tmp_path / "kept").load(ISSUER, RESOURCE)
    assert found == kept(access="60")


async def test_a_process_that_dies_lets_go(tmp_path: Path) -> None:
    stage = Stage("tests.auth.stage_keeping", str(tmp_path / "kept"), "hold")
    while stage.lines != ["held"]:
        await asyncio.sleep(0.01)

    with pytest.raises(SignInError, match="Another process is busy with the sign-in at https://mcp"):
        async with FileStore(tmp_path / "kept", patience=0.2).lock(ISSUER, RESOURCE):
            pass

    stage.kill()
    async with FileStore(tmp_path / "kept", patience=5).lock(ISSUER, RESOURCE):
        pass


async def test_a_caller_that_gives_up_leaves_no_lock_and_no_descriptor(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "kept")
    async with store.lock(ISSUER, RESOURCE):
        before = len(os.listdir("/proc/self/fd"))
        waiting = [asyncio.create_task(_enter(store)) for _ in range(5)]
        await asyncio.sleep(0.1)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert len(os.listdir("/proc/self/fd")) == before
    async with asyncio.timeout(5), store.lock(ISSUER, RESOURCE):
        pass


async def _enter(store: FileStore) -> None:
    async with store.lock(ISSUER, RESOURCE):
        raise AssertionError("two are inside")


async def test_a_cancelled_save_is_whole_before_the_lock_ends(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "kept")

    async def refresh() -> None:
        async with store.lock(ISSUER, RESOURCE):
            await store.save(kept(access="rotated"))

    task = asyncio.create_task(refresh())
    while not (tmp_path / "kept").exists():
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with store.lock(ISSUER, RESOURCE):
        held = await store.load(ISSUER, RESOURCE)
    drafts = [path for path in (tmp_path / "kept").iterdir() if path.name.startswith(".")]
    assert held in (None, kept(access="rotated")) and drafts == []


def test_the_store_of_a_user_is_where_state_belongs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert repr(system_store()) == f"<FileStore {tmp_path}/trunkline/sign-ins>"
