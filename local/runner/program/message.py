"""A job as GitHub's message describes it (actions/runner, `AgentJobRequestMessage`)."""

from typing import Any


class Job:
    """A job, as its message describes it."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        self.id, self.name = str(body["jobId"]), str(body["jobDisplayName"])
        self.plan = str(body["plan"]["planId"])
        (endpoint,) = (
            each for each in body["resources"]["endpoints"] if each["name"] == "SystemVssConnection"
        )
        self.run_service = str(endpoint["url"]).rstrip("/") + "/"
        self.token = str(endpoint["authorization"]["parameters"]["AccessToken"])
        self.id_token_url = str((endpoint.get("data") or {}).get("GenerateIdTokenUrl") or "")
        """Where its OIDC tokens come from; the bearer is its access token."""
        self.variables = {name: str(each["value"]) for name, each in body["variables"].items()}
        self.github = context_value(body["contextData"]["github"])
        self.env: dict[str, str] = {}
        for token in body["environmentVariables"]:
            self.env.update({str(key): str(value) for key, value in plain(token).items()})
        self.steps = [_step(each) for each in body["steps"]]
        self.container = plain(body.get("jobContainer"))
        self.services: dict[str, Any] = plain(body.get("jobServiceContainers")) or {}
        self.billing_owner = str(body.get("billingOwnerId") or "")

    def github_text(self, name: str) -> str:
        """Give a value of the github context."""
        return str(self.github.get(name, ""))


def context_value(value: Any) -> Any:
    """Turn a value of a context into what it stands for (`PipelineContextData`)."""
    if not isinstance(value, dict):
        return value
    if value.get("t") == 2:
        return {each["k"]: context_value(each["v"]) for each in value.get("d") or []}
    if value.get("t") == 1:
        return [context_value(each) for each in value.get("a") or []]
    return value.get("b", value.get("n"))


def _step(each: dict[str, Any]) -> dict[str, Any]:
    inputs = plain(each.get("inputs") or {"type": 2, "map": []})
    return {
        "id": str(each["id"]),
        "name": str(plain(each["displayNameToken"])),
        "if": str(each.get("condition") or ""),
        "run": str(inputs.get("script", "")),
        "shell": str(inputs.get("shell", "")),
        "reference": each["reference"],
        "inputs": inputs,
    }


def plain(token: Any) -> Any:
    """Turn a template token into what it stands for; an expression stays as it is written."""
    if not isinstance(token, dict):
        return token
    if token.get("type") == 2:
        return {plain(each["Key"]): plain(each["Value"]) for each in token.get("map") or []}
    if token.get("type") == 1:
        return [plain(each) for each in token.get("seq") or []]
    return token.get("lit", token.get("expr", ""))
