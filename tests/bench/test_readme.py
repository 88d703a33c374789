# SPDX-License-Identifier: Apache-2.0
"""The two programs that README shows compile without a warning and do what it says."""

import os
import re
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(os.environ["SOURCE_ROOT"])
LIBRARY = Path(os.environ["LIBSHMCLIENT"])
SHMBROKERD = os.environ["SHMBROKERD"]


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    blocks = re.findall(r"^```c\n(.*?)^```", (SOURCE / "README.md").read_text(), re.M | re.S)
    assert len(blocks) == 2
    directory = tmp_path_factory.mktemp("readme")
    for name, text in zip(("put", "take"), blocks):
        (directory / f"{name}.c").write_text(text)
        subprocess.run(
            ["cc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", f"{name}.c",
             "-o", name, f"-I{SOURCE}/include", str(LIBRARY), f"-Wl,-rpath,{LIBRARY.parent}"],
            cwd=directory, check=True, timeout=60,
        )
    return directory


def broker_run(*command, cwd):
    return subprocess.run(
        [SHMBROKERD, "--run", "--", *command], cwd=cwd, capture_output=True, text=True, timeout=60
    )


def test_one_writes_and_another_reads(programs):
    result = broker_run("sh", "-c", './take "$(./put)"', cwd=programs)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "20971520 bytes, the last is 42\n"


def test_an_unknown_token_is_said(programs):
    result = broker_run("./take", "0" * 32, cwd=programs)
    assert result.returncode == 1
    assert "token" in result.stderr
