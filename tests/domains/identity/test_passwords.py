"""Passwords: hashing in threads, within limits, and what is too weak."""

import anyio
import pytest

from fieldstation.core.errors import Busy, Invalid
from fieldstation.core.settings import AuthSettings
from fieldstation.domains.identity.service.passwords import (
    Passwords,
    check_new_password,
    common_passwords,
    station_hasher,
)
from tests.domains.identity.stations import PASSWORD, CountingHasher
from tests.wait_until import wait_until


@pytest.mark.parametrize(
    "password",
    [
        "short-one",
        "password12",
        "P@ssw0rd1234",
        "PASSWORD!!!!",
        "1234567890",
        "qwertyuiop",
        "aaaaaaaaaa",
        "Summer2026!!",
        "iloveyou123",
        "!!!letmein!!!",
        "correct horse battery staple",
        "ada.lovelace@example.org",
        "ADA-LOVELACE",
    ],
)
def test_weak_password_is_refused(password: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_new_password(password, "Ada.Lovelace@example.org", "ada-lovelace", None)
    assert caught.value.code == "weak_password"
    assert password not in caught.value.detail


@pytest.mark.parametrize(
    "password", [PASSWORD, "seven-quiet-anvils-drift", "x7#qpl02vn", "2468-1357-99"]
)
def test_other_password_is_taken(password: str) -> None:
    check_new_password(password, "ada@example.org", None)


def test_list_of_common_passwords_is_bundled() -> None:
    listed = common_passwords()
    assert len(listed) > 2000
    assert all(entry == entry.casefold().strip() for entry in listed)


def test_hashes_are_argon2id_with_the_documented_cost() -> None:
    memory_kib = AuthSettings().password_memory_kib
    stored = station_hasher(memory_kib=memory_kib).hash(PASSWORD)
    assert stored.startswith("$argon2id$v=19$m=32768,t=2,p=1$")


@pytest.mark.anyio
async def test_hash_with_other_parameters_is_replaced_on_the_way() -> None:
    stored = station_hasher(memory_kib=16).hash(PASSWORD)
    passwords = Passwords(station_hasher(memory_kib=8))
    verdict = await passwords.verify(PASSWORD, stored)
    assert verdict.matches
    assert verdict.replacement is not None
    assert (await passwords.verify(PASSWORD, verdict.replacement)).replacement is None
    assert not (await passwords.verify("something else", stored)).matches


@pytest.mark.anyio
async def test_nobody_logs_in_with_the_password_of_nobody() -> None:
    passwords = Passwords(CountingHasher())
    assert not (await passwords.verify("nobody has this password", None)).matches


@pytest.mark.anyio
@pytest.mark.parametrize("exists", [True, False])
async def test_first_check_is_as_much_work_for_a_name_that_exists(exists: bool) -> None:
    hasher = CountingHasher()
    stored = hasher.hasher.hash(PASSWORD)
    passwords = Passwords(hasher)
    assert hasher.hashed == 0, "a start need not wait for a hash"
    await passwords.verify(PASSWORD, stored if exists else None)
    assert (hasher.hashed, hasher.verified) == (1, 1)


@pytest.mark.anyio
async def test_full_queue_is_busy_and_the_loop_goes_on() -> None:
    hasher = CountingHasher()
    passwords = Passwords(hasher, passwords_hashing_max=1, passwords_waiting_max=1)
    stored = await passwords.hash(PASSWORD)
    hasher.held_password = PASSWORD
    verdicts: list[bool] = []

    async def check() -> None:
        verdicts.append((await passwords.verify(PASSWORD, stored)).matches)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(check)
        await wait_until(hasher.holding.is_set)
        tasks.start_soon(check)
        await anyio.lowlevel.checkpoint()
        assert hasher.verified == 1
        with pytest.raises(Busy):
            await passwords.hash(PASSWORD)
        hasher.release.set()
    assert verdicts == [True, True]
    assert await passwords.hash(PASSWORD)
