"""Where key and address come from, and what is refused as either."""

from __future__ import annotations

import pickle
import subprocess
from pathlib import Path

import pytest

from seedream_jobs.api.credentials import ApiKey, endpoint, find_endpoint, find_key, is_loopback, proxy_for
from seedream_jobs.errors import CredentialsError, UsageError


def test_the_order_is_variable_file_dotenv(tmp_path: Path) -> None:
    """Each source counts only where the ones before it are silent."""
    (tmp_path / ".env").write_text("OTHER=1\nexport APIMART_API_KEY='sk-dotenv' \nX=APIMART_API_KEY=no\n")
    (tmp_path / "key").write_text("\ufeffsk-file\n", "utf-8")
    environment = {"APIMART_API_KEY": " sk-variable\n", "APIMART_API_KEY_FILE": str(tmp_path / "key")}
    assert find_key(environment, tmp_path).reveal() == "sk-variable"
    environment["APIMART_API_KEY"] = " "
    assert find_key(environment, tmp_path).reveal() == "sk-file"
    del environment["APIMART_API_KEY_FILE"]
    assert find_key(environment, tmp_path).reveal() == "sk-dotenv"


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("APIMART_API_KEY=sk-1", "sk-1"),
        ("  export APIMART_API_KEY = sk-1  ", "sk-1"),
        ('APIMART_API_KEY="sk-1"', "sk-1"),
        ("APIMART_API_KEY=sk-1 # mine", "sk-1"),
        ("APIMART_API_KEY=sk-0\nAPIMART_API_KEY=sk-1", "sk-1"),
    ],
)
def test_dotenv_lines(tmp_path: Path, line: str, key: str) -> None:
    """That one name, with the usual ways to write it."""
    (tmp_path / ".env").write_text(line)
    assert find_key({}, tmp_path).reveal() == key


@pytest.mark.parametrize("line", ["", "# APIMART_API_KEY=sk-1", "MY_APIMART_API_KEY=sk-1", "APIMART_API_KEY="])
def test_no_key_says_where_to_get_one(tmp_path: Path, line: str) -> None:
    """The place, the variable, and the way to do without."""
    (tmp_path / ".env").write_text(line)
    with pytest.raises(CredentialsError, match="no API key") as caught:
        find_key({}, tmp_path)
    for word in ("https://apimart.ai/keys", "APIMART_API_KEY", "--emulator"):
        assert word in str(caught.value.hint)


def test_a_dotenv_that_git_tracks_is_refused(tmp_path: Path) -> None:
    """A key in the index is a key for everyone; ignored or untracked it is fine."""
    git = ["git", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / ".env").write_text("APIMART_API_KEY=sk-1")
    assert find_key({}, tmp_path).reveal() == "sk-1"
    subprocess.run([*git, "add", "-f", ".env"], check=True)
    with pytest.raises(CredentialsError, match="tracked by git") as caught:
        find_key({}, tmp_path)
    assert "sk-1" not in str(caught.value)
    assert find_key({"APIMART_API_KEY": "sk-2"}, tmp_path).reveal() == "sk-2"


def test_an_unreadable_key_file_is_one_line(tmp_path: Path) -> None:
    """Missing, a folder, not UTF-8: said by name."""
    (tmp_path / "latin").write_bytes(b"sk-\xe9")
    for name in ("missing", "", "latin"):
        with pytest.raises(CredentialsError, match="key file"):
            find_key({"APIMART_API_KEY_FILE": str(tmp_path / name) if name else str(tmp_path)}, tmp_path)


@pytest.mark.parametrize("secret", ["", "sk 1", "sk-1\nX-Evil: 1", "sk-é", "sk-\x00", "k" * 513])
def test_a_key_that_cannot_stand_in_a_header_is_refused(secret: str) -> None:
    """And the message does not show it."""
    with pytest.raises(CredentialsError) as caught:
        ApiKey(secret)
    assert not secret or secret not in str(caught.value)


def test_a_key_shows_itself_nowhere() -> None:
    """Not printed, formatted, or pickled."""
    key = ApiKey("sk-secret")
    assert "secret" not in f"{key} {key!r} {[key]} {key.__class__}"
    with pytest.raises(TypeError):
        pickle.dumps(key)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://api.apimart.ai", "https://api.apimart.ai"),
        ("https://API.apimart.ai/v1/", "https://api.apimart.ai"),
        ("https://api.apimart.ai:443/v1", "https://api.apimart.ai"),
        ("https://mirror.example/proxy/v1", "https://mirror.example/proxy"),
        ("https://mirror.example:8443/proxy/", "https://mirror.example:8443/proxy"),
        ("https://mirror.example/v10", "https://mirror.example/v10"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("http://localhost:80", "http://localhost"),
        ("http://[::1]:9/v1", "http://[::1]:9"),
    ],
)
def test_one_address_has_one_origin(url: str, base: str) -> None:
    """Every spelling of a base URL is the same origin, and normalising twice changes nothing."""
    assert endpoint(url).base == endpoint(base).base == base


@pytest.mark.parametrize(
    "url",
    [
        "http://api.apimart.ai",
        "http://127.0.0.1.evil.example",
        "http://10.0.0.1",
        "ftp://api.apimart.ai",
        "api.apimart.ai",
        "https://",
        "https://user:pw@api.apimart.ai",
        "https://@api.apimart.ai",
        "https://api.apimart.ai/?x=1",
        "https://api.apimart.ai/#x",
        "https://api.apimart.ai/a/../b",
        "https://api.apimart.ai/%2e%2e/b",
        "https://api.apimart.ai/a//b",
        "https://api.apimart.ai:99999",
        "https://api.apimart.ai\r\nX: 1",
        "https://api.apimart.ai /",
        "https://аpimart.example",
        "https://[::1",
    ],
)
def test_what_is_no_base_url(url: str) -> None:
    """Refused with one line; a password in it is not repeated."""
    with pytest.raises(UsageError) as caught:
        endpoint(url)
    assert "pw" not in str(caught.value)


def test_the_base_url_comes_from_the_argument_then_the_environment() -> None:
    """And else it is the vendor's."""
    environment = {"APIMART_BASE_URL": "https://b.example"}
    assert find_endpoint("https://a.example", environment).base == "https://a.example"
    assert find_endpoint(None, environment).base == "https://b.example"
    assert find_endpoint(None, {}).url("tasks/task_1") == "https://api.apimart.ai/v1/tasks/task_1"


def test_loopback_is_a_matter_of_the_name() -> None:
    """Nothing is looked up."""
    assert all(map(is_loopback, ["localhost", "LOCALHOST.", "127.0.0.1", "127.9.9.9", "::1"]))
    assert not any(map(is_loopback, ["localhost.example", "127.0.0.1.example", "10.0.0.1", ""]))


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://p:3128"}, "http://p:3128"),
        ({"https_proxy": "p:3128", "HTTPS_PROXY": "http://q"}, "http://p:3128"),
        ({"ALL_PROXY": "http://p"}, "http://p"),
        ({"HTTP_PROXY": "http://p"}, None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "apimart.ai"}, None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "x, .apimart.ai"}, None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "mart.ai"}, "http://p"),
    ],
)
def test_the_proxy_is_the_environments(environment: dict[str, str], proxy: str | None) -> None:
    """As curl reads it; never for loopback."""
    assert proxy_for(endpoint("https://api.apimart.ai"), environment) == proxy
    assert proxy_for(endpoint("http://127.0.0.1:1"), environment) is None


@pytest.mark.parametrize("proxy", ["http://", "http://u:secret@p:port", "http://[::1", "http://p:0"])
def test_a_proxy_that_cannot_be_is_one_line(proxy: str) -> None:
    """And its password is not shown."""
    with pytest.raises(UsageError, match="no readable address") as caught:
        proxy_for(endpoint("https://api.apimart.ai"), {"HTTPS_PROXY": proxy})
    assert "secret" not in str(caught.value)


def test_a_socks_proxy_is_named_not_ignored() -> None:
    """Going straight past a proxy somebody set would be worse than stopping."""
    with pytest.raises(UsageError, match="socks5"):
        proxy_for(endpoint("https://api.apimart.ai"), {"ALL_PROXY": "socks5://p"})
