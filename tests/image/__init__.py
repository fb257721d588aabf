"""The image is built and run in containers, and what deploys it is checked with its tools.

Not part of the suite, because it takes minutes, root and Debian's buildah, debootstrap, runc,
iproute2, docker-compose and cloud-init: `pytest -m image`, as `.ci/run` does after the suite.
"""
