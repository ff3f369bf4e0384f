"""Settings: read once, checked as a whole, shown without secrets; and docs/configuration.md tells the truth."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import config
from engine.config import Settings, parse_redis_url, redact_url
from engine.config_table import SETTINGS, Setting, read, show
from engine.errors import ConfigError
from engine.redis_url import SCHEMES

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"


def refused(**environ: str) -> str:
    """What ConfigError says about this environment."""
    with pytest.raises(ConfigError) as caught:
        Settings.from_env(environ)
    assert caught.value.setting in str(caught.value)
    return str(caught.value)


def test_nothing_configured_means_the_embedded_server_and_defaults() -> None:
    settings = Settings.from_env({"PATH": "/bin", "ENGINE_LEASE": "  ", "REDIS_URL": ""})
    assert settings == Settings()
    assert settings.redis is None
    assert (settings.lease, settings.drain_timeout, settings.max_payload, settings.app) == (
        10.0,
        25.0,
        262_144,
        "handlers:engine",
    )


def test_every_setting_is_read(tmp_path: Path) -> None:
    file = tmp_path / "x.pem"
    file.touch()
    settings = Settings.from_env({
        "REDIS_URL": "rediss://u:p@h:1/2", "ENGINE_ENV": "Production", "ENGINE_APP": "shop.jobs:app.engine", "ENGINE_LEASE": "30s",
        "ENGINE_DRAIN_TIMEOUT": "1m", "ENGINE_DURABILITY": "disk", "ENGINE_MAX_PAYLOAD": "1MiB", "ENGINE_MAX_MEMORY": "2GiB", "ENGINE_DATA_DIR": "/var/lib/x",
        "ENGINE_LOG_FORMAT": "json", "ENGINE_LOG_LEVEL": "DEBUG", "ENGINE_ENQUEUE_TIMEOUT": "500ms", "ENGINE_CONNECT_TIMEOUT": "2",
        "ENGINE_SOCKET_TIMEOUT": "3s", "ENGINE_TLS_CA": str(file), "ENGINE_TLS_CERT": str(file), "ENGINE_TLS_KEY": str(file),
        "ENGINE_TLS_INSECURE_I_KNOW": "1", "ENGINE_WORKER_NAME": "w-1", "ENGINE_SLOTS": "7",
    })  # fmt: skip
    assert settings == Settings(
        redis_url="rediss://u:p@h:1/2", env="production", app="shop.jobs:app.engine", lease=30.0, drain_timeout=60.0, durability="disk",
        max_payload=1024**2, max_memory=2 * 1024**3, data_dir="/var/lib/x", log_format="json", log_level="debug", enqueue_timeout=0.5, connect_timeout=2.0,
        socket_timeout=3.0, tls_ca=str(file), tls_cert=str(file), tls_key=str(file), tls_insecure=True, worker_name="w-1", slots=7,
    )  # fmt: skip


def test_load_reads_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_LEASE", "42s")
    assert config.load().lease == 42


def test_all_problems_are_told_at_once_a_sentence_a_line() -> None:
    lines = refused(
        ENGINE_LEASSE="1s", ENGINE_LEASE="soon", ENGINE_SLOTS="0", ENGINE_ENV="prod", REDIS_URL="http://x", ENGINE_XYZZY="1"
    ).splitlines()
    assert lines == [
        "ENGINE_LEASSE is not a setting; did you mean ENGINE_LEASE?",
        "ENGINE_XYZZY is not a setting; docs/configuration.md lists them all",
        "ENGINE_LEASE can't be read: 'soon' is no duration: write 500ms, 10s, 5m, 2h, 7d or plain seconds",
        f"REDIS_URL ('•••') must begin with {', '.join(f'{scheme}://' for scheme in SCHEMES)}",
        "ENGINE_ENV is 'prod': it is one of development, production; did you mean production?",
        "ENGINE_SLOTS is 0: it must be between 1 and 10000",
    ]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("ENGINE_LEASE", "0.5s", "ENGINE_LEASE is 500ms: it must be between 1s and 1h"),
        ("ENGINE_MAX_PAYLOAD", "256KB", "ENGINE_MAX_PAYLOAD is '256KB', which is no size: write 262144, 256KiB, 1MiB or 1GiB"),
        ("ENGINE_MAX_PAYLOAD", "1TiB", "which is no size"),
        ("ENGINE_MAX_PAYLOAD", "1GiB", "must be between 1KiB and 64MiB"),
        ("ENGINE_MAX_MEMORY", "1MiB", "must be between 32MiB and 1024GiB"),
        ("ENGINE_MAX_PAYLOAD", "65MiB", "ENGINE_MAX_PAYLOAD is 65MiB: it must be between 1KiB and 64MiB"),
        ("ENGINE_SLOTS", "2.5", "ENGINE_SLOTS is '2.5', which is not a whole number"),
        ("ENGINE_TLS_INSECURE_I_KNOW", "maybe", "write 1 or 0"),
        ("ENGINE_APP", "handlers", "ENGINE_APP is 'handlers': it looks like handlers:engine"),
        ("ENGINE_WORKER_NAME", "a b", "it looks like worker-1"),
        ("ENGINE_LOG_LEVEL", "warn", "did you mean warning?"),
        ("ENGINE_DURABILITY", "fsync", "it is one of memory, process, disk, replicated"),
        ("ENGINE_TLS_CA", "/no/such/file", "ENGINE_TLS_CA names the file '/no/such/file', which is not there"),
        ("ENGINE_DATA_DIR", "a\0b", "zero byte"),
    ],
)
def test_a_value_that_can_not_be_is_named_with_the_way_out(name: str, text: str, sentence: str) -> None:
    assert sentence in refused(**{name: text, "REDIS_URL": "rediss://h"})


def test_values_given_in_code_are_checked_like_those_of_the_environment() -> None:
    with pytest.raises(ConfigError, match="ENGINE_LEASE is 100ms: it must be between 1s and 1h"):
        dataclasses.replace(Settings(), lease=0.1)
    with pytest.raises(ConfigError, match=r"not a number\nENGINE_SLOTS is 'x', which is not a number"):
        Settings(lease=float("nan"), slots="x")  # type: ignore[arg-type]  # the wrong type is what is tested


def test_production_does_not_start_without_a_configured_redis() -> None:
    assert "neither REDIS_URL nor REDIS_HOST is set, and ENGINE_ENV=production" in refused(ENGINE_ENV="production")


# --- REDIS_* ---------------------------------------------------------------------------------------------------------


def url_of(**environ: str) -> str | None:
    return Settings.from_env(environ).redis_url


def test_host_port_user_and_password_make_an_address() -> None:
    assert url_of(REDIS_HOST="h") == "redis://h:6379/0"
    assert url_of(REDIS_HOST="::1", REDIS_PORT="7000") == "redis://[::1]:7000/0"
    assert url_of(REDIS_HOST="h", REDIS_PASSWORD="p@/ #") == "redis://:p%40%2F%20%23@h:6379/0"
    assert url_of(REDIS_HOST="h", REDIS_USERNAME="u", REDIS_PASSWORD="p") == "redis://u:p@h:6379/0"


def test_a_host_in_production_means_tls_and_a_url_says_for_itself() -> None:
    assert url_of(REDIS_HOST="h", ENGINE_ENV="production") == "rediss://h:6379/0"
    assert url_of(REDIS_URL="redis://h", ENGINE_ENV="production") == "redis://h"


def test_a_url_and_a_host_must_agree() -> None:
    said = refused(REDIS_URL="redis://:Zq9@a:6379", REDIS_HOST="b", REDIS_PASSWORD="Zq9")
    assert (
        said == "REDIS_URL and REDIS_HOST are both set and differ (redis://•••@a:6379 and redis://•••@b:6379/0): keep one of them"
    )
    assert url_of(REDIS_URL="redis://:p@a", REDIS_HOST="a", REDIS_PASSWORD="p") == "redis://:p@a"
    assert "both set and differ" in refused(REDIS_URL="redis://a", REDIS_HOST="a", ENGINE_ENV="production")


def test_a_url_without_a_log_in_takes_the_one_beside_it_and_two_are_refused() -> None:
    assert url_of(REDIS_URL="redis://a:1/3", REDIS_PASSWORD="p") == "redis://:p@a:1/3"
    assert url_of(REDIS_URL="redis://u@a:1/3", REDIS_PASSWORD="p") == "redis://u:p@a:1/3"
    said = refused(REDIS_URL="redis://:Zq9one@a", REDIS_PASSWORD="Zq9two")
    assert "REDIS_URL and REDIS_PASSWORD hold different log-ins" in said
    assert "Zq9" not in said
    assert "REDIS_PASSWORD set without a server: set REDIS_HOST, or REDIS_URL" in refused(REDIS_PASSWORD="Zq9")


@pytest.mark.parametrize("host", ["redis://h", "u@h", "h:6379", "a,b", "h/1", "h?db=1", "h h", "[::1]:6379", "-", "h#"])
def test_a_host_that_is_more_than_a_host_is_refused(host: str) -> None:
    assert "REDIS_HOST" in refused(REDIS_HOST=host)


@pytest.mark.parametrize("port", ["0", "65536", "x", "-1", "6379.0", "٦"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    assert "a port is a number from 1 to 65535" in refused(REDIS_HOST="h", REDIS_PORT=port)


def test_what_kubernetes_injects_for_services_called_redis_and_engine_is_no_setting() -> None:
    links = {
        "REDIS_PORT": "tcp://10.0.0.1:6380", "REDIS_SERVICE_HOST": "10.0.0.1", "REDIS_SERVICE_PORT": "6380", "REDIS_PORT_6380_TCP": "tcp://10.0.0.1:6380",
        "REDIS_PORT_6380_TCP_ADDR": "10.0.0.1", "ENGINE_PORT": "tcp://10.0.0.2:80", "ENGINE_SERVICE_HOST": "10.0.0.2", "ENGINE_SERVICE_PORT_HTTP": "80",
        "ENGINE_WEB_PORT_80_TCP_PROTO": "tcp", "ENGINE_WEB_SERVICE_HOST": "10.0.0.3",
    }  # fmt: skip
    assert url_of(**links) is None
    assert url_of(**links, REDIS_HOST="redis") == "redis://redis:6380/0"
    assert "ENGINE_PORT is not a setting" in refused(ENGINE_PORT="80")


def test_a_misspelt_redis_name_counts_only_while_ours_are_missing() -> None:
    assert refused(REDIS_HSOT="h") == "REDIS_HSOT is not a setting; did you mean REDIS_HOST?"
    assert url_of(REDIS_HOSTS="x", REDIS_URL="redis://h") == "redis://h"
    assert url_of(REDIS_CACHE_TTL="5") is None


def test_bytes_that_are_no_text_are_refused_by_name() -> None:
    assert refused(REDIS_HOST="h", REDIS_PASSWORD="a\udcffb") == "REDIS_PASSWORD is not valid text: write it in UTF-8"


# --- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", {"topology": "single", "tls": False, "hosts": (("h", 6379),), "db": 0}),
        (
            "rediss://u:p%40@h:7000/3?ssl_cert_reqs=required",
            {"tls": True, "hosts": (("h", 7000),), "db": 3, "username": "u", "password": "p@"},
        ),
        ("redis://:p@[::1]:7000?db=4", {"hosts": (("::1", 7000),), "db": 4, "username": None, "password": "p"}),
        ("unix:///run/redis.sock?db=2", {"topology": "unix", "path": "/run/redis.sock", "db": 2, "hosts": ()}),
        ("unix://u:p@/run/redis.sock", {"path": "/run/redis.sock", "username": "u", "password": "p"}),
        (
            "redis+sentinel://:p@a,b:1,[::2]/main/5",
            {"topology": "sentinel", "hosts": (("a", 26379), ("b", 1), ("::2", 26379)), "service": "main", "db": 5},
        ),
        (
            "redis+sentinel://:p@a/main?sentinel_username=watch&sentinel_password=p%26%2B%25",
            {"password": "p", "options": (("sentinel_password", "p&+%"), ("sentinel_username", "watch"))},
        ),
        ("rediss+cluster://a:1,b", {"topology": "cluster", "tls": True, "hosts": (("a", 1), ("b", 6379))}),
    ],
)
def test_an_address_is_taken_apart_and_put_together_again(url: str, expected: dict[str, Any]) -> None:
    parts = parse_redis_url(url)
    assert {name: getattr(parts, name) for name in expected} == expected
    assert parse_redis_url(parts.text()) == parts
    assert Settings(redis_url=url).redis == parts


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("localhost:6379", "must begin with redis://"),
        ("reds://h", "did you mean redis://?"),
        ("REDIS://h", "must begin with"),
        ("redis://", "names no host"),
        ("redis://h:0", "port that is not a number from 1 to 65535"),
        ("redis://h:65536", "port"),
        ("redis://h:٦", "outside ASCII"),
        ("redis://h/x", "database that is not a number"),
        ("redis://h/-1", "database"),
        ("redis://h/1/2", "more than a database"),
        ("redis://h/1?db=2", "names database 1 in its path and 2"),
        ("redis://a,b", "names several hosts"),
        ("redis://h h", "space"),
        ("redis://h\n", "control character"),
        ("redis://::1", "write IPv6 as [::1]:6379"),
        ("redis://:Zq9/x@h", "percent-encoded"),
        ("redis://:Zq9?x@h", "percent-encoded"),
        ("redis://:Zq9#x@h", "percent-encoded"),
        ("redis://h?ssl_cert_req=none", "did you mean ssl_cert_reqs?"),
        ("redis://h?socket_timeout=5", "time limits are ENGINE_ settings"),
        ("rediss://h?ssl_cert_reqs=non", "is one of required, optional, none"),
        ("rediss://h?ssl_cert_reqs=required&ssl_cert_reqs=none", "twice"),
        ("unix://h/x", "three slashes"),
        ("unix://", "names no socket"),
        ("redis+sentinel://h", "names no service"),
        ("redis+cluster://h/1", "a cluster only has database 0"),
        ("redis://h?sentinel_password=Zq9", "the option sentinel_password, which is for redis+sentinel://"),
        ("redis+sentinel://h/main?sentinel_pasword=Zq9", "did you mean sentinel_password?"),
        ("redis://h?protocol=2", "has protocol='2': it is one of 3"),
        ("redis://Zq9user@h", "a user but no password"),
        ("redis://h?ssl_cert_reqs=none", "without TLS, but TLS files or options are set"),
    ],
)
def test_an_address_that_can_not_be_is_refused_without_its_secrets(url: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings(redis_url=url)
    assert sentence in str(caught.value)
    assert caught.value.setting == "REDIS_URL"
    assert "Zq9" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "option",
    ["ssl_cert_reqs=none", "ssl_cert_reqs=NONE", "ssl_check_hostname=false", "ssl_check_hostname=False", "ssl%5Fcert_reqs=none"],
)
@pytest.mark.parametrize("scheme", ["rediss", "rediss+sentinel", "rediss+cluster"])
def test_switching_certificate_checks_off_takes_saying_so(option: str, scheme: str) -> None:
    url = f"{scheme}://h/{'main' if 'sentinel' in scheme else ''}?{option}"
    assert "switches certificate checks off" in refused(REDIS_URL=url)
    assert Settings.from_env({"REDIS_URL": url, "ENGINE_TLS_INSECURE_I_KNOW": "1"}).tls_insecure


def test_tls_files_belong_to_tls_and_to_one_another(tmp_path: Path) -> None:
    file = tmp_path / "x.pem"
    file.touch()
    assert "is without TLS" in refused(REDIS_URL="redis://h", ENGINE_TLS_CA=str(file))
    assert "belong together" in refused(REDIS_URL="rediss://h", ENGINE_TLS_CERT=str(file))


# --- what is shown ---------------------------------------------------------------------------------------------------

SECRET = st.text(min_size=1, max_size=20).map(lambda text: f"Zq9{text}Zq9")


@given(
    SECRET,
    st.sampled_from(
        [
            "redis://:{}@h:6379/0",
            "rediss://{}:x@h",
            "redis://u:{}@h",
            "rediss://h/0?x={}",
            "redis://h#{}",
            "redis://:a@b{}@h",
            "redis+sentinel://h/main?sentinel_password={}",
            "{}",
        ]
    ),
)
def test_no_secret_is_left_in_a_shown_address_whatever_is_in_it(secret: str, form: str) -> None:
    assert "Zq9" not in redact_url(form.format(secret))


@given(SECRET, st.sampled_from(["redis://app:{}/0", "redis://:{}", "rediss+sentinel://a:1,app:{}/x", "redis://[::1]:{}"]))
def test_a_password_whose_host_was_forgotten_is_not_taken_for_a_port(secret: str, form: str) -> None:
    assert "Zq9" not in redact_url(form.format(secret.replace("@", "%40")))


@pytest.mark.parametrize(
    "url", ["redis://h", "redis://h:6379/0", "redis://[::1]:6379/1", "redis+sentinel://a:1,b:2,c/x", "unix:///run/a:b.sock"]
)
def test_an_address_without_a_secret_is_shown_as_it_is(url: str) -> None:
    assert redact_url(url) == url


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_one_sentence(text: str) -> None:
    redact_url(text)
    for url in (text, f"redis://{text}", f"rediss+sentinel://{text}", f"unix://{text}"):
        try:
            parts = parse_redis_url(url)
        except ConfigError as error:
            assert str(error).isprintable()
        else:
            assert parse_redis_url(parts.text()) == parts


@given(SECRET.filter(lambda text: text.strip() == text and "\0" not in text))
def test_a_password_is_in_no_repr_and_no_display_but_reaches_the_server(password: str) -> None:
    settings = Settings.from_env({"REDIS_HOST": "h", "REDIS_USERNAME": "Zq9user", "REDIS_PASSWORD": password})
    assert settings.redis is not None
    assert settings.redis.password == password
    assert "Zq9" not in repr(settings) + str(settings.shown())
    assert settings.shown()["redis_url"] == "redis://•••@h:6379/0"


def test_settings_are_shown_as_they_are_written() -> None:
    shown = Settings().shown()
    assert shown["redis_url"] == "embedded server in .engine"
    assert (shown["lease"], shown["max_payload"], shown["slots"], shown["tls_insecure"]) == ("10s", "256KiB", "not set", "0")
    assert shown.keys() == {field.name for field in dataclasses.fields(Settings)}


def test_settings_can_not_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().lease = 5.0  # type: ignore[misc]  # frozen is what is tested


# --- the table and the docs ------------------------------------------------------------------------------------------


def default(row: Setting) -> Any:
    return {field.name: field.default for field in dataclasses.fields(Settings)}[row.field]


def documented_row(row: Setting) -> str:
    words = {"choice": ", ".join(f"`{choice}`" for choice in row.choices), "flag": "`1` or `0`", "secret": "text"}
    shown = "" if default(row) is None else f"`{show(row, default(row))}`"
    return f"| `{row.env}` | {words.get(row.kind, row.kind)} | {shown} | {row.meaning} |"


def test_every_field_has_a_row_and_every_row_a_field() -> None:
    assert {row.field for row in SETTINGS} == {field.name for field in dataclasses.fields(Settings)}
    assert len({row.env for row in SETTINGS}) == len(SETTINGS)


@pytest.mark.parametrize("row", [row for row in SETTINGS if row.field != "redis_url"], ids=lambda row: row.env)
def test_a_default_reads_back_from_how_it_is_shown(row: Setting) -> None:
    if default(row) is not None:
        assert read(row, show(row, default(row))) == default(row)


def test_docs_list_every_setting_with_its_default_and_no_other() -> None:
    text = DOCS.read_text()
    assert [line for line in text.splitlines() if re.match(r"\| `(ENGINE|REDIS)_", line)] == [
        documented_row(row) for row in SETTINGS
    ]
    assert set(re.findall(r"(?:ENGINE|REDIS)_[A-Z_]*[A-Z]", text)) <= {row.env for row in SETTINGS} | {"ENGINE_LEASSE"}
