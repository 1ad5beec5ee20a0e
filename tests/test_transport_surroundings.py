"""Proxies, certificates and files: what surrounds this machine."""

from __future__ import annotations

import asyncio
import base64
import socket
import sys

import pytest
from fakes import ScriptedServer, completion, http

from batchchat.errors import (
    BadRequest,
    ConnectionLost,
    EndpointDown,
    Forbidden,
    KeyRefused,
    ServerError,
    UsageError,
)
from batchchat.records import Endpoint, Secret
from batchchat.transport import Transport, session, surroundings
from batchchat.transport.surroundings import allow_files, open_socket, proxy_for, trust
from batchchat.wire import make_request

REQUEST = make_request({"model": "m", "messages": []})
PROXY = "http://proxy.example:3128"


async def ask(url, environment):
    endpoint = Endpoint(base_url=url, key=Secret("k"))
    async with Transport(endpoint, connections=1, timeout=30, stream=False, environment=environment) as opened:
        return await opened.send(REQUEST)


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        ("http://h.example", {}, None),
        ("http://h.example", {"HTTP_PROXY": PROXY}, PROXY),
        ("http://h.example", {"http_proxy": PROXY}, PROXY),
        ("https://h.example", {"HTTP_PROXY": PROXY}, None),
        ("https://h.example", {"HTTPS_PROXY": PROXY}, PROXY),
        ("https://h.example", {"ALL_PROXY": PROXY}, PROXY),
        ("https://h.example", {"ALL_PROXY": "http://all.example", "https_proxy": PROXY}, PROXY),
        ("http://h.example", {"http_proxy": "", "HTTP_PROXY": PROXY}, None),
        ("http://h.example", {"http_proxy": PROXY, "HTTP_PROXY": "http://other.example"}, PROXY),
        ("http://h.example", {"HTTP_PROXY": "http://other.example", "http_proxy": PROXY}, PROXY),
        ("http://h.example", {"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}, None),
        ("http://h.example", {"http_proxy": PROXY, "REQUEST_METHOD": "GET"}, PROXY),
        ("https://h.example", {"REQUEST_METHOD": "GET", "HTTP_PROXY": "http://x", "HTTPS_PROXY": PROXY}, PROXY),
        ("http://h.example", {"REQUEST_METHOD": "GET", "HTTP_PROXY": "http://x", "ALL_PROXY": PROXY}, PROXY),
        ("http://h.example", {"HTTP_PROXY": " proxy.example:3128 "}, PROXY),
        ("http://h.example", {"PATH": "/bin", "HTTP_PROXY": "https://p.example"}, "https://p.example"),
    ],
)
def test_the_usual_variables_name_a_proxy(url, environment, proxy):
    """Lower case wins; under CGI the upper-case one is what a visitor sent."""
    assert proxy_for(url, environment) == proxy


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "127.1.2.3", "[::1]:8000", "a.localhost"])
def test_loopback_is_never_proxied(host):
    """No other machine could reach it for us."""
    assert proxy_for(f"http://{host}/v1", {"HTTP_PROXY": PROXY, "ALL_PROXY": PROXY}) is None


@pytest.mark.parametrize(
    ("no_proxy", "exempt"),
    [
        ("", False),
        (" , ", False),
        ("*", True),
        ("api.example.com", True),
        ("API.Example.com.", True),
        ("example.com", True),
        (".example.com", True),
        ("*.example.com", True),
        ("ample.com", False),
        ("other.org, example.com", True),
        ("api.example.com:8443", True),
        ("example.com:443", False),
        ("10.0.0.0/8", False),
    ],
)
def test_no_proxy_exempts_names(no_proxy, exempt):
    """A name, everything below a name, everything; with a port, that port only."""
    environment = {"HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy}
    assert (proxy_for("https://api.example.com:8443/v1", environment) is None) is exempt


@pytest.mark.parametrize(
    ("host", "no_proxy", "exempt"),
    [
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.9.9.9/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "2.3", False),
        ("10.1.2.3", "x,10.1.2.3", True),
        ("a.b.c", "b.c", True),
        ("a.b.c", "[b.c]:80", True),
        ("a.b.c", "b.c.", True),
        ("10.1.2.3", "10.1.2.3:80", True),
        ("10.1.2.3", "10.1.2.3:81", False),
        ("[fd00::1]", "fd00::/8", True),
        ("[fd00::1]", "[fd00::1]", True),
        ("[fd00::1]", "[fd00::1]:80", True),
        ("[fd00::1]", "10.0.0.0/8", False),
    ],
)
def test_no_proxy_exempts_addresses_and_networks(host, no_proxy, exempt):
    """An address, a network, an address with its port."""
    assert (proxy_for(f"http://{host}/v1", {"http_proxy": PROXY, "no_proxy": no_proxy}) is None) is exempt


@pytest.mark.parametrize(
    ("url", "no_proxy", "exempt"),
    [
        ("https://h.example", "h.example:443", True),
        ("https://h.example", "h.example:80", False),
        ("http://h.example", "h.example:80", True),
        ("http://h.example", "h.example:443", False),
    ],
)
def test_an_address_without_a_port_has_its_schemes(url, no_proxy, exempt):
    """443 for https, 80 for http."""
    assert (proxy_for(url, {"ALL_PROXY": PROXY, "NO_PROXY": no_proxy}) is None) is exempt


def test_a_proxy_that_is_not_spoken_is_a_usage_error():
    """The message says what to do; where the proxy is not needed, nothing is said."""
    environment = {"ALL_PROXY": "socks5://user:secret@p.example:1080"}
    with pytest.raises(UsageError, match=r"socks5://.*HTTPS_PROXY.*NO_PROXY") as caught:
        proxy_for("https://h.example", environment)
    assert "secret" not in str(caught.value)
    assert proxy_for("http://localhost", environment) is None


def test_without_variables_the_systems_settings_are_asked(monkeypatch):
    """MacOS and Windows keep them elsewhere."""
    for name in (
        "http_proxy",
        "HTTP_PROXY",
        "all_proxy",
        "ALL_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "no_proxy",
        "NO_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(surroundings, "getproxies", lambda: {"http": PROXY})
    monkeypatch.setattr(surroundings, "proxy_bypass", lambda host: host == "near.example")
    assert proxy_for("http://far.example") == PROXY
    assert proxy_for("http://near.example") is None
    monkeypatch.setenv("HTTP_PROXY", "http://told.example")
    assert proxy_for("http://near.example") == "http://told.example"


async def test_a_plain_request_goes_through_the_proxy():
    """The proxy is asked for the whole address; its login goes to it, and is no header of the endpoint's key."""
    async with ScriptedServer([http(completion("hi"))]) as proxy:
        login = proxy.origin.replace("//", "//me:pass@")
        found = await ask("http://far.example/v1", {"HTTP_PROXY": login})
    assert found.contents == ("hi",)
    (sent,) = proxy.received
    assert sent.target == "http://far.example/v1/chat/completions"
    assert sent.headers["host"] == "far.example"
    assert sent.headers["proxy-authorization"] == "Basic " + base64.b64encode(b"me:pass").decode()


async def test_a_secure_request_goes_through_a_tunnel():
    """The proxy sees a host and a port, and no key."""
    seen = []

    async def refuse(peer, received):
        seen.append(received)
        await peer.send(http(b"", 502))

    async with ScriptedServer([refuse]) as proxy:
        with pytest.raises(ConnectionLost, match=r"the proxy does not let through to far\.example:443 \(HTTP 502"):
            await ask("https://far.example/v1", {"HTTPS_PROXY": proxy.origin})
    assert (seen[0].method, seen[0].target) == ("CONNECT", "far.example:443")
    assert "authorization" not in seen[0].headers


@pytest.mark.parametrize("status", [401, 403, 407])
async def test_a_proxy_that_wants_a_login_stops_the_job(status):
    """No row would get through."""
    async with ScriptedServer([http(b"", status)]) as proxy:
        with pytest.raises(EndpointDown, match="proxy"):
            await ask("https://far.example/v1", {"HTTPS_PROXY": proxy.origin})
        if status == 407:
            with pytest.raises(EndpointDown, match="wants a login"):
                await ask("http://far.example/v1", {"HTTP_PROXY": proxy.origin})


@pytest.mark.parametrize(("status", "kind"), [(401, KeyRefused), (403, Forbidden), (503, ServerError)])
async def test_what_an_endpoint_says_behind_a_proxy_is_the_endpoints(status, kind):
    """Only 407 is the proxy's own word; without a proxy even that is an error of the endpoint."""
    async with ScriptedServer([http(b"", status)]) as proxy:
        with pytest.raises(kind):
            await ask("http://far.example/v1", {"HTTP_PROXY": proxy.origin})
    async with ScriptedServer([http(b"", 407)]) as server:
        with pytest.raises(BadRequest):
            await ask(server.url, {})


async def test_a_proxy_that_is_not_there():
    """It is a connection that was not made."""
    with pytest.raises(ConnectionLost) as caught:
        await ask("http://far.example/v1", {"HTTP_PROXY": "http://127.0.0.1:1"})
    assert not caught.value.billed


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_certificates_that_are_not_there_are_a_usage_error(variable, tmp_path):
    """The variable and its value are named."""
    with pytest.raises(UsageError, match=variable):
        trust({variable: str(tmp_path / "none")})


def test_a_file_without_certificates_is_a_usage_error(tmp_path):
    """It is found before the first request."""
    empty = tmp_path / "ca.pem"
    empty.write_text("nothing")
    with pytest.raises(UsageError, match="SSL_CERT_FILE: no certificates in"):
        trust({"SSL_CERT_FILE": str(empty)})


def test_a_folder_of_certificates(tmp_path):
    """SSL_CERT_DIR, and REQUESTS_CA_BUNDLE, may name one."""
    for variable in ("SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"):
        assert trust({variable: str(tmp_path)}).cert_store_stats()["x509_ca"] == 0


def test_without_variables_the_system_is_trusted():
    """Certificates are verified in any case."""
    for context in (trust({}), trust()):
        assert context.check_hostname


def test_a_socket_notices_when_its_peer_is_gone():
    """Long answers are waited for with keep-alive probes."""
    with open_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ())) as opened:
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 60), ("TCP_KEEPCNT", 5)):
            if hasattr(socket, name):  # Linux has them all
                assert opened.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) == value


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of open files")
def test_room_is_made_for_as_many_files_as_connections(monkeypatch):
    """The soft limit is raised where it is too low, never beyond the hard one, and never lowered."""
    import resource

    limits, said = [], {"soft": 256, "hard": 4096}
    monkeypatch.setattr(resource, "getrlimit", lambda _: (said["soft"], said["hard"]))
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: limits.append(pair))
    allow_files(1000)
    allow_files(9999)
    said["hard"] = resource.RLIM_INFINITY
    allow_files(9999)
    said["soft"] = 20_000
    allow_files(9999)
    said["soft"] = resource.RLIM_INFINITY
    allow_files(9999)
    assert limits == [(1256, 4096), (4096, 4096), (10_255, resource.RLIM_INFINITY)]


class Context:
    """An ssl context that knows no authority until one is loaded."""

    def __init__(self, known=0):
        self.known, self.loaded = known, None

    def cert_store_stats(self):
        return {"x509_ca": self.known}

    def load_verify_locations(self, cafile):
        self.loaded = cafile


@pytest.mark.parametrize(
    ("known", "places", "fallen_back"),
    [
        (0, (None, None), True),
        (3, (None, None), False),
        (0, ("/etc/ssl/cert.pem", None), False),
        (0, (None, "/etc/ssl/certs"), False),
    ],
)
def test_a_system_without_authorities_falls_back(monkeypatch, known, places, fallen_back):
    """Python from python.org on a Mac knows none: those that come with certifi are trusted then, and only then."""
    context = Context(known)
    paths = type("Paths", (), {"cafile": places[0], "capath": places[1]})
    monkeypatch.setattr(surroundings.ssl, "create_default_context", lambda **_: context)
    monkeypatch.setattr(surroundings.ssl, "get_default_verify_paths", lambda: paths)
    assert trust({}) is context
    assert (context.loaded is not None) is fallen_back


@pytest.mark.parametrize(
    ("url", "environment", "asked"),
    [
        ("http://h.example", {}, False),
        ("https://h.example", {}, True),
        ("http://h.example", {"HTTP_PROXY": "https://p.example"}, True),
        ("http://h.example", {"HTTP_PROXY": "http://p.example"}, False),
    ],
)
async def test_certificates_are_read_where_they_are_needed(monkeypatch, url, environment, asked):
    """For https, to the endpoint or to the proxy; reading them takes its time."""
    read = []
    monkeypatch.setattr(session, "trust", lambda told: read.append(told) or True)
    made = Transport(Endpoint(base_url=url), connections=1, timeout=1, stream=False, environment=environment)
    async with made:
        assert read == ([environment] if asked else [])


async def test_a_transport_may_be_made_without_a_loop_running():
    """It binds to the loop that it is entered in."""
    made = await asyncio.to_thread(
        Transport, Endpoint(base_url="http://h.example"), connections=1, timeout=1, stream=False, environment={}
    )
    async with made:
        assert made.requests == 0
