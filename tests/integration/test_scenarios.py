# SPDX-License-Identifier: Apache-2.0
"""The scenarios of client_scenarios, one by one, against a broker as they need it."""

import os
import subprocess

import pytest

import harness

WITHOUT_SANITIZER = ("no-address-space",)
HERE = os.path.dirname(os.path.abspath(__file__))


def scenarios():
    program = os.environ["CLIENT_SCENARIOS"]
    listed = subprocess.run([program, "list"], capture_output=True, check=True, text=True)
    return listed.stdout.split()


@pytest.fixture(scope="module")
def config():
    with open(os.path.join(HERE, "client_scenarios.conf"), encoding="utf-8") as file:
        return file.read()


@pytest.mark.deadline(150)
@pytest.mark.parametrize("name", scenarios())
def test_scenario(start, programs, config, name):
    if harness.sanitized and name in WITHOUT_SANITIZER:
        pytest.skip("a sanitizer needs more address space than there is here")
    broker = start(config=config, tokens_may_stay=True)
    status, _, stderr = harness.run(
        [programs.client_scenarios, name], programs=programs, broker=broker,
        environment={"SHMBROKERD": programs.shmbrokerd}, seconds=120)
    assert status == 0, stderr


def test_there_are_scenarios():
    assert len(scenarios()) > 10
