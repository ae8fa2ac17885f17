"""A broker behind proxies tells each client to come back by the proxy that it came by."""

import argparse

import pytest

from orchestrator.local.kafka import PROPERTIES, Proxied


def properties(proxied: Proxied) -> dict[str, str]:
    text = PROPERTIES.format(port=1, controller_port=2, data="/data", proxied=proxied)
    return dict(line.split("=", 1) for line in text.splitlines())


def test_each_proxy_has_a_listener_of_its_own() -> None:
    found = properties(Proxied.read("21001:21002,21003:21004"))
    assert found["listeners"] == (
        "PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2,PROXIED21001://127.0.0.1:21001,PROXIED21003://127.0.0.1:21003"
    )
    assert found["advertised.listeners"] == (
        "PLAINTEXT://127.0.0.1:1,PROXIED21001://127.0.0.1:21002,PROXIED21003://127.0.0.1:21004"
    )
    assert found["listener.security.protocol.map"] == (
        "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED21001:PLAINTEXT,PROXIED21003:PLAINTEXT"
    )


def test_without_proxies_there_is_one_listener() -> None:
    found = properties(Proxied.read(""))
    assert found["listeners"] == "PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2"
    assert found["advertised.listeners"] == "PLAINTEXT://127.0.0.1:1"


@pytest.mark.parametrize("text", ["21001", "a:b", "1:2:3"])
def test_what_is_no_pair_of_ports_is_refused(text: str) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--proxied", type=Proxied.read)
    with pytest.raises(SystemExit):
        parser.parse_args(["--proxied", text])
