import pytest

from regalia.identity.keys import RANDOM_BYTES, new_key
from regalia.policy.detectors.secrets import Secrets

MIXED = "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5bC7dE9fG1hJ3kL5mN7pQ9rS1tU3v"
PEM = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIB\n-----END EC PRIVATE KEY-----"


def found(text: str) -> list[tuple[str, str]]:
    return [(one.kind, text[one.start : one.end]) for one in Secrets().find(text)]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("secret.regalia_key", new_key(bytes(range(RANDOM_BYTES)))),
        ("secret.aws_access_key", "AKIA" + "ABCDEFGH23456789"),
        ("secret.github_token", "ghp_" + MIXED[:36]),
        ("secret.github_token", "github_pat_" + MIXED),
        ("secret.gitlab_token", "glpat-" + MIXED[:20]),
        ("secret.slack_token", "xoxb-" + "123456789012-" + MIXED[:24]),
        ("secret.api_key", "sk-" + MIXED[:40]),
        ("secret.google_key", "AIza" + MIXED[:35]),
        ("secret.huggingface_token", "hf_" + MIXED[:34]),
        ("secret.npm_token", "npm_" + MIXED[:36]),
        ("secret.sendgrid_key", "SG." + MIXED[:22] + "." + MIXED[:43]),
        ("secret.jwt", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0." + MIXED[:43]),
        ("secret.private_key", PEM),
    ],
)
def test_keys_of_a_known_form_are_found_whole(kind: str, value: str) -> None:
    assert found(f"use {value} for it") == [(kind, value)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("password: hunter2!", "hunter2"),
        ('{"api_key": "ab12Cd34ef56gh78"}', "ab12Cd34ef56gh78"),
        ("client_secret = 'kJ8sd7FhsK2mNb3v'", "kJ8sd7FhsK2mNb3v"),
        ("kata laluan: Rahsia123", "Rahsia123"),
        ("mật khẩu là Abc@12345", "Abc@12345"),
        ("密码：Abc@12345", "Abc@12345"),
    ],
)
def test_values_behind_telling_names_are_found_in_any_language(text: str, value: str) -> None:
    assert found(text) == [("secret.assignment", value)]


def test_a_password_in_a_url_is_found() -> None:
    assert found("postgresql://app:s3cr3tpw@db.internal/x") == [("secret.url_password", "s3cr3tpw")]


def test_the_rest_of_a_private_key_is_found_where_a_piece_of_text_begins_inside_it() -> None:
    rest = "MHcCAQEEIB" * 20 + "\n-----END EC PRIVATE KEY-----"
    assert found(rest) == [("secret.private_key", rest)]


@pytest.mark.parametrize(
    "text",
    [
        "I forgot my password again yesterday",
        "the password is required for all users",
        "password: ${DB_PASSWORD}",
        "api_key = os.environ['KEY']",
        "token: <your-token-here>",
        "max_tokens=4096, token_count: 1234567890123",
        "the secret of happiness is patience",
        "skeleton-key-in-a-long-hyphenated-heading-of-a-page",
        "a key role in the organisation, tokens per second",
    ],
)
def test_words_and_placeholders_are_no_secrets(text: str) -> None:
    assert found(text) == []
