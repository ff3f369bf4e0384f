"""Bookings: what reminders and answers must know of somebody's appointment, at the moment they are sent."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Protocol, runtime_checkable

import msgspec
from msgspec import Meta

from .files import JsonFile

Status = Literal["pending", "confirmed", "cancelled"]


class Booking(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An appointment."""

    booking_id: str
    organization_id: str
    recipient_number: str
    """Canonical."""
    customer_name: str
    starts_at: Annotated[datetime, Meta(tz=True)]
    """In the time zone of the place where it is: that is how it is written to the customer."""
    status: Status = "pending"
    notices: dict[str, str] = {}
    """What was sent about it: notice -> id of the job that sends it."""

    @property
    def starts_at_ms(self) -> int:
        """Epoch milliseconds."""
        return int(self.starts_at.timestamp() * 1000)

    @property
    def when(self) -> str:
        """As a customer reads it, `25/11 às 14:00`."""
        return f"{self.starts_at:%d/%m} às {self.starts_at:%H:%M}"


@runtime_checkable
class Bookings(Protocol):
    """The business's calendar."""

    async def get(self, booking_id: str) -> Booking | None:
        """The booking as it is now."""

    async def put(self, booking: Booking) -> None:
        """Add it, or replace the one of the same id."""

    async def next_of(self, organization_id: str, number: str, now_ms: int) -> Booking | None:
        """The soonest booking of that number that has not begun and is not cancelled; None when there is none."""

    async def set_status(self, booking_id: str, status: Status) -> None:
        """Confirm or cancel; repeating is harmless, and so is a booking that is gone."""

    async def claim_notice(self, booking_id: str, notice: str, job_id: str) -> bool:
        """True when `notice` is this job's to send: nobody claimed it before, or this very job did."""


class JsonBookings:
    """Kept in one local file."""

    def __init__(self, path: Path) -> None:
        self._file: JsonFile[dict[str, Booking]] = JsonFile(path, dict[str, Booking], dict)

    def __repr__(self) -> str:
        return f"<JsonBookings {self._file!r}>"

    async def get(self, booking_id: str) -> Booking | None:
        """See `Bookings.get`."""
        return (await asyncio.to_thread(self._file.read)).get(booking_id)

    async def put(self, booking: Booking) -> None:
        """See `Bookings.put`."""

        def change(kept: dict[str, Booking]) -> None:
            kept[booking.booking_id] = booking

        await asyncio.to_thread(self._file.update, change)

    async def next_of(self, organization_id: str, number: str, now_ms: int) -> Booking | None:
        """See `Bookings.next_of`."""
        mine = [
            booking
            for booking in (await asyncio.to_thread(self._file.read)).values()
            if booking.organization_id == organization_id
            and booking.recipient_number == number
            and booking.starts_at_ms > now_ms
            and booking.status != "cancelled"
        ]
        return min(mine, key=lambda booking: booking.starts_at_ms, default=None)

    async def set_status(self, booking_id: str, status: Status) -> None:
        """See `Bookings.set_status`."""

        def change(kept: dict[str, Booking]) -> None:
            if booking_id in kept:
                kept[booking_id] = msgspec.structs.replace(kept[booking_id], status=status)

        await asyncio.to_thread(self._file.update, change)

    async def claim_notice(self, booking_id: str, notice: str, job_id: str) -> bool:
        """See `Bookings.claim_notice`."""

        def change(kept: dict[str, Booking]) -> bool:
            booking = kept.get(booking_id)
            if booking is None:
                return False
            owner = booking.notices.get(notice, job_id)
            kept[booking_id] = msgspec.structs.replace(booking, notices={**booking.notices, notice: owner})
            return owner == job_id

        return await asyncio.to_thread(self._file.update, change)
