from app.engine.watchdog import Watchdog


def looks(watchdog: Watchdog, owed: str, *times: float) -> bool:
    for now in times:
        watchdog.look(owed, now)
    return watchdog.expired


def test_one_thing_that_is_owed_for_longer_than_the_limit_is_too_long() -> None:
    watchdog = Watchdog(2)
    assert not looks(watchdog, "a", 0, 0.1, 0.2)
    assert not looks(watchdog, "a", *(tenths / 10 for tenths in range(3, 21)))
    assert looks(watchdog, "a", 2.1, 2.2)


def test_things_that_come_and_go_are_not() -> None:
    watchdog = Watchdog(0.5)
    for tenths in range(100):
        assert not looks(watchdog, str(tenths % 10), tenths / 10)


def test_the_time_that_the_process_slept_does_not_count() -> None:
    watchdog = Watchdog(20)
    assert not looks(watchdog, "a", 0, 1, 2, 86_402, 86_403)
