"""Whether this machine's clock agrees with the store's."""

from __future__ import annotations

from tslc.domain.doctor.finding import Finding, fault, not_applicable, ok, warning

FIX = "timedatectl set-ntp true   # or: chronyc makestep"
# S3 refuses requests signed at another time than that, give or take.
MOST_SECONDS = 15 * 60
# A clock that is kept by NTP is right within a second; the header tells whole seconds.
NEAR_SECONDS = 30


def judge_clock(skew: float | None, why_not: str = "") -> Finding:
    """`skew`: seconds by which this clock is ahead of the store's; None when it told no time."""
    if skew is None:
        return not_applicable(f"the store tells no time ({why_not})")
    seconds = round(abs(skew))
    if seconds < 2:
        return ok("agrees with the store's")
    said = f"{duration(seconds)} {'ahead of' if skew > 0 else 'behind'} the store's"
    if seconds > MOST_SECONDS:
        return fault(f"{said}: S3 refuses requests that are {MOST_SECONDS // 60} minutes off", FIX)
    if seconds > NEAR_SECONDS:
        return warning(said, FIX)
    return ok(said)


def duration(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{round(minutes / 60)} h"
