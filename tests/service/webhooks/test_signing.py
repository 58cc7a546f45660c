import base64

import pytest

from service.webhooks.signing import key_of, new_secret, signature


def test_the_example_of_the_standard() -> None:
    signed = signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_secrets_are_new_and_have_the_form() -> None:
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert {len(key_of(secret)) for secret in made} == {32}


def secret_of(size: int) -> str:
    return "whsec_" + base64.b64encode(bytes(size)).decode()


@pytest.mark.parametrize("size", [24, 64])
def test_the_shortest_and_the_longest_key_are_taken(size: int) -> None:
    assert key_of(secret_of(size)) == bytes(size)


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "hunter2", secret_of(23), secret_of(65), secret_of(32)[6:], "whsec_" + "ä" * 44, "whsec_ !"],
)
def test_other_secrets_are_refused_in_words_that_do_not_repeat_them(secret: str) -> None:
    with pytest.raises(ValueError, match="must be whsec_ and the base64") as caught:
        key_of(secret)
    assert not secret or secret == "whsec_" or secret not in str(caught.value)
