"""The key file: rotated while replicas run, never half read, never shown."""

import base64
import json
import logging
import stat
import time
from pathlib import Path

import pytest

from trunkline.engine.sealed import Keys
from trunkline.errors import ConfigError
from trunkline.storage import keyfile
from trunkline.storage.keyfile import LONGEST_LIFE, Key, KeyFile, in_order

A, B, C = (bytes([number]) * 32 for number in (1, 2, 3))


def write(path: Path, *keys: tuple[str, bytes]) -> None:
    entries = [{"from": begins, "key": base64.b64encode(key).decode()} for begins, key in keys]
    path.write_text(json.dumps({"keys": entries}))


def test_the_newest_key_whose_time_has_come_seals_and_all_open() -> None:
    keys = [Key(100.0, A), Key(200.0, B), Key(300.0, C)]

    assert [key.secret for key in in_order(keys, 50)] == [A, C, B]
    assert [key.secret for key in in_order(keys, 100)] == [A, C, B]
    assert [key.secret for key in in_order(keys, 250)] == [B, C, A]
    assert [key.secret for key in in_order(keys, 999)] == [C, B, A]


def test_replicas_with_clocks_two_minutes_apart_understand_each_other_through_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    keyfile.new(path)
    behind, ahead = KeyFile(path), KeyFile(path)
    rings = [Keys(behind.ring(time.time() - 60)), Keys(ahead.ring(time.time() + 60))]
    keyfile.rotate(path)

    for minutes in range(20):
        for file, ring, offset in zip((behind, ahead), rings, (-60, 60), strict=True):
            # The one that is behind reads the file four minutes late.
            if file is ahead or minutes >= 4:
                file.refresh()
            ring.replace(file.ring(time.time() + minutes * 60 + offset))
        for one, other in (rings, rings[::-1]):
            assert other.open("state", b"", one.seal("state", b"", b"x")) == b"x"

    assert behind.ring(time.time() + 1200)[0] == ahead.keys()[0][1]


def test_a_file_is_read_again_when_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    write(path, ("2026-01-01T00:00:00Z", A))
    file = KeyFile(path)

    assert file.keys() == [(1767225600.0, A)]
    assert file.refresh() is False
    write(path, ("2026-01-01T00:00:00Z", A), ("2026-01-02T00:00:00+01:00", B))
    assert file.refresh() is True
    assert file.keys() == [(1767308400.0, B), (1767225600.0, A)]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is not JSON"),
        ("\udcff", "is not JSON"),
        ("[]", "is not right"),
        ('{"keys": []}', "holds no key; make one with: trunkline keys new"),
        ('{"keys": [{"from": "2026-01-01T00:00:00Z", "key": "c2hvcnQ="}]}', r"keys\[0\].key is not 32 bytes"),
        ('{"keys": [{"from": "2026-01-01T00:00:00Z", "key": "s3cr*t"}]}', r"\.key is not as it should be"),
        ('{"keys": [{"from": "2026-01-01T00:00:00", "key": "%s"}]}', "has no time zone"),
        ('{"keys": [{"from": "s3cret", "key": "%s"}]}', r"\.from is not as it should be"),
        ('{"keys": [{"from": "2026-01-01T00:00:00Z", "key": "%s", "s3cret": 1}]}', "is not as it should be"),
        (
            '{"keys": [{"from": "2026-01-01T00:00:00Z", "key": "%s"}, {"from": "2027-01-01T00:00:00Z", "key": "%s"}]}',
            "the same key is in it twice",
        ),
    ],
)
def test_a_bad_file_is_said_to_be_one_and_the_old_keys_stay(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "keys.json"
    write(path, ("2026-01-01T00:00:00Z", A))
    file = KeyFile(path)
    secret = base64.b64encode(B).decode()
    path.write_bytes(text.replace("%s", secret).encode("utf-8", "surrogateescape"))

    with pytest.raises(ConfigError, match=why) as found:
        file.refresh()

    assert secret not in str(found.value) and "s3cr" not in str(found.value)
    assert file.keys() == [(1767225600.0, A)]
    assert file.refresh() is False
    path.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        file.refresh()
    with pytest.raises(ConfigError, match="cannot be read"):
        KeyFile(path)
    write(path, ("2026-01-01T00:00:00Z", C))
    assert file.refresh() is True


def test_only_keys_nobody_needs_are_pruned(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    write(path, *((f"2026-01-0{day}T00:00:00Z", bytes([day]) * 32) for day in (1, 2, 3)))
    second = 1767312000.0

    assert keyfile.prune(path, second + LONGEST_LIFE - 1) == []
    assert [key.secret for key in keyfile.prune(path, second + LONGEST_LIFE + 1)] == [A]
    assert [key.secret for key in keyfile.prune(path, second + 900 * 86400)] == [B]
    assert [key.secret for key in keyfile.read(path)] == [C]


def test_a_file_is_written_for_its_owner_alone_and_never_over_another(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    keyfile.new(path)
    keyfile.rotate(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["keys.json"]
    with pytest.raises(ConfigError, match="already; add a key to it with: trunkline keys rotate"):
        keyfile.new(path)
    assert len(keyfile.read(path)) == 2
    with pytest.raises(ConfigError, match="cannot be written"):
        keyfile.new(tmp_path / "missing" / "keys.json")


def test_keys_are_not_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "keys.json"
    key = keyfile.new(path)
    shown = repr(key) + repr(KeyFile(path)) + repr(keyfile.read(path)) + caplog.text

    assert repr(key.secret)[2:10] not in shown
    assert base64.b64encode(key.secret).decode()[:8] not in shown
