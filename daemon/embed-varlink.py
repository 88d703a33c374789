# SPDX-License-Identifier: Apache-2.0
"""Writes Varlink definitions as C strings: embed-varlink.py OUTPUT.h INPUT.varlink..."""
import json
import pathlib
import sys

output, *inputs = (pathlib.Path(argument) for argument in sys.argv[1:])
with output.open("w", encoding="ascii") as header:
    for path in inputs:
        name = path.name.removesuffix(".varlink").replace(".", "_")
        header.write(f"static const char varlink_{name}[] =\n")
        licence, _, text = path.read_text(encoding="ascii").partition("\n\n")
        assert licence.startswith("# SPDX-License-Identifier: ") and "\n" not in licence
        for line in text.splitlines(keepends=True):
            header.write(f"        {json.dumps(line)}\n")
        header.write("        ;\n")
