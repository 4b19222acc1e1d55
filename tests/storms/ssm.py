"""SSM's parameters as launcher and agents use them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bench import limits
from tests.storms.calls import Service, loop_time, refusal
from tests.storms.clock import EPOCH

if TYPE_CHECKING:
    from tests.storms.calls import Weather


@dataclass
class Parameter:
    """A parameter."""

    value: str
    tags: dict[str, str]
    version: int = 1
    description: str = ""
    written: float = 0.0
    """When it was written last, by the loop's time."""


class Ssm(Service):
    """The parameters of an account."""

    name = "ssm"

    def __init__(self, weather: Weather) -> None:
        self.parameters: dict[str, Parameter] = {}
        self.values: dict[str, str] = {}
        """What was written last under each name, also where it is deleted."""
        super().__init__(weather)

    async def put_parameter(self, **given: Any) -> dict[str, Any]:
        """Write a parameter."""
        name, tags = given["Name"], {tag["Key"]: tag["Value"] for tag in given.get("Tags", [])}

        def act() -> dict[str, Any]:
            if given["Type"] != "SecureString":
                raise AssertionError(f"a token is written as {given['Type']}")
            if tags and given.get("Overwrite"):
                raise refusal("ValidationException", "PutParameter", "tags and overwrite")
            held = self.parameters.get(name)
            if held is not None and not given.get("Overwrite"):
                raise refusal("ParameterAlreadyExists", "PutParameter")
            if held is None:
                held = self.parameters[name] = Parameter(given["Value"], tags)
            else:
                held.value, held.version = given["Value"], held.version + 1
            held.description, held.written = given.get("Description", ""), loop_time()
            self.values[name] = held.value
            return {"Version": held.version, "Tier": given.get("Tier", "Standard")}

        return await self._call("PutParameter", act)

    async def get_parameter(self, **given: Any) -> dict[str, Any]:
        """Read a parameter."""
        name = given["Name"]

        def act() -> dict[str, Any]:
            if name not in self.parameters:
                raise refusal("ParameterNotFound", "GetParameter")
            held = self.parameters[name]
            value = held.value if given.get("WithDecryption") else "encrypted"
            found = {"Name": name, "Value": value, "Version": held.version}
            return {"Parameter": found | {"LastModifiedDate": limits.EPOCH}}

        return await self._call("GetParameter", act)

    async def delete_parameter(self, **given: Any) -> dict[str, Any]:
        """Delete a parameter."""

        def act() -> dict[str, Any]:
            if self.parameters.pop(given["Name"], None) is None:
                raise refusal("ParameterNotFound", "DeleteParameter")
            return {"ResponseMetadata": {"HTTPHeaders": {"x-amzn-requestid": "1"}}}

        return await self._call("DeleteParameter", act)

    async def delete_parameters(self, **given: Any) -> dict[str, Any]:
        """Delete up to ten parameters."""
        names = given["Names"]

        def act() -> dict[str, Any]:
            if not 1 <= len(names) <= 10:
                raise refusal("ValidationException", "DeleteParameters", f"{len(names)} names")
            gone = [name for name in names if self.parameters.pop(name, None) is not None]
            missing = [name for name in names if name not in gone]
            return {"DeletedParameters": gone, "InvalidParameters": missing}

        return await self._call("DeleteParameters", act)

    async def describe_parameters(self, **given: Any) -> dict[str, Any]:
        """List parameters by their tags and paths; with `MaxResults` a page of them."""

        def act() -> dict[str, Any]:
            found = [
                {
                    "Name": name,
                    "Version": held.version,
                    "Description": held.description,
                    "LastModifiedDate": datetime.fromtimestamp(EPOCH + held.written, UTC),
                }
                for name, held in sorted(self.parameters.items())
                if all(_fits(name, held, each) for each in given.get("ParameterFilters", []))
            ]
            begins, most = int(given.get("NextToken", 0)), given.get("MaxResults", len(found))
            end = begins + most
            more = {"NextToken": str(end)} if end < len(found) else {}
            return {"Parameters": found[begins:end], **more}

        return await self._call("DescribeParameters", act)


def _fits(name: str, held: Parameter, wanted: dict[str, Any]) -> bool:
    if wanted["Key"] == "Path":
        return name.rpartition("/")[0] in wanted["Values"]
    key = wanted["Key"].removeprefix("tag:")
    return held.tags.get(key) in wanted["Values"]
