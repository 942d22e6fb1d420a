"""What docker-py makes of a helper. The first word says which of its ways is taken.

get, store, erase, list: `docker.credentials.Store`, its answer printed as JSON.
resolve: as a `DockerClient` finds the credentials of a registry, by the configuration.
all: as it finds them for a build.
"""

import json
import sys

import docker.auth
import docker.credentials
import docker.errors


def answer(way, *words):
    if way == "resolve":
        return docker.auth.load_config().resolve_authconfig(*words)
    if way == "all":
        return docker.auth.load_config().get_all_credentials()
    return getattr(docker.credentials.Store("quayfed"), way)(*words)


way, *words = sys.argv[1:]
if way == "store":
    words.append(sys.stdin.read())
try:
    result = answer(way, *words)
except (docker.credentials.StoreError, docker.errors.DockerException) as error:
    sys.exit(f"{type(error).__name__}: {error}")
print(result.decode() if isinstance(result, bytes) else json.dumps(result))
