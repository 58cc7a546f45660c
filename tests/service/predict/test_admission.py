"""How much is let in at once."""

import pytest

from service.errors import Overloaded
from service.predict.admission import Admission


def test_so_many_requests_are_let_in_and_no_more() -> None:
    house = Admission(2, 100)
    with house.place():
        with house.place(), pytest.raises(Overloaded, match="2 predictions are in progress"), house.place():
            pass
        with house.place():
            assert house.requests == 2
    assert house.requests == 0


def test_so_many_bytes_are_let_in_and_are_free_again() -> None:
    house = Admission(9, 100)
    with house.place() as first, house.place() as second:
        first.grow(60)
        second.grow(40)
        with pytest.raises(Overloaded, match="memory"):
            second.grow(1)
    assert (house.held, house.requests) == (0, 0)
    with house.place() as third:
        third.grow(100)


def test_a_body_that_has_no_company_may_be_as_large_as_bodies_may_be() -> None:
    house = Admission(9, 100)
    with house.place() as alone:
        alone.grow(5_000)
        with house.place() as other, pytest.raises(Overloaded):
            other.grow(1)


def test_what_fails_gives_its_place_back() -> None:
    house = Admission(1, 100)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), house.place() as place:
            place.grow(50)
            raise ZeroDivisionError
    assert (house.held, house.requests) == (0, 0)
