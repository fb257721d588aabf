"""Regenerate the protobuf code of `swarmpb`: `python proto/generate.py [TARGET_FOLDER]`.

The generated files are committed, so that nobody needs a compiler to install; a test
regenerates them into a temporary folder and compares.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
MESSAGES = sorted((ROOT / "swarmpb" / "v1").glob("*.proto"))
SERVICES = [path for path in MESSAGES if "\nservice " in path.read_text(encoding="utf-8")]
# beside this Python, whether or not its virtual environment is activated
TYPES_PLUGIN = Path(sys.executable).with_name("protoc-gen-mypy_grpc")


def generate(target: Path) -> None:
    """Write the code of every .proto file below `target`, in the packages' folders."""
    from grpc_tools import protoc

    include = f"-I{ROOT}"
    types = [f"--plugin=protoc-gen-mypy_grpc={TYPES_PLUGIN}", f"--mypy_grpc_out={target}"]
    for arguments in (
        [f"--python_out={target}", f"--pyi_out={target}", *map(str, MESSAGES)],
        [f"--grpc_python_out={target}", *types, *map(str, SERVICES)],
    ):
        if protoc.main(["protoc", include, *arguments]) != 0:
            raise SystemExit(f"protoc failed: {' '.join(arguments)}")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
