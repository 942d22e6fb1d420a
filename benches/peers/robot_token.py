"""What Quay's documentation shows for robot federation, with the token request in front of it:
a token of the provider by client credentials, exchanged for a robot token, by `requests`."""

import os

import requests

bundle = os.environ["CA_BUNDLE"]
with open(os.environ["CLIENT_SECRET_FILE"], encoding="utf-8") as file:
    secret = file.read()

asked = requests.post(
    os.environ["TOKEN_ENDPOINT"],
    data={"grant_type": "client_credentials", "audience": "quay"},
    auth=(os.environ["CLIENT_ID"], secret),
    verify=bundle,
    timeout=25,
)
asked.raise_for_status()

exchanged = requests.get(
    os.environ["EXCHANGE"],
    auth=(os.environ["ROBOT"], asked.json()["access_token"]),
    verify=bundle,
    timeout=25,
)
exchanged.raise_for_status()
print(exchanged.json()["token"])
