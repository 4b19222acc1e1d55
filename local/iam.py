"""IAM as those see it who ask what is there: roles, and what their policies say to an action.

moto does not simulate. Source: IAM's API reference, "SimulatePrincipalPolicy".
"""

from __future__ import annotations

import itertools
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote

from aiohttp import web

from local import aws
from local.listening import listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NAMESPACE = "https://iam.amazonaws.com/doc/2010-05-08/"


@dataclass
class Iam:
    """The policies of every role: they allow all but what is named here."""

    denied: set[str] = field(default_factory=set)
    """Actions that no policy allows."""
    conditional: set[str] = field(default_factory=set)
    """Actions that are allowed under a condition whose value nobody has given."""
    denied_on: set[tuple[str, str]] = field(default_factory=set)
    """Actions that no policy allows on a resource, each with that."""
    roles: dict[str, str] = field(default_factory=dict)
    """The roles that exist, by name, and whom each trusts."""
    closed: bool = False
    """Whether nobody may ask."""
    url: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """The actions that were asked about, each with its resource."""

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer one request."""
        given = dict(parse_qsl((await request.read()).decode()))
        action = given.get("Action", "nothing")
        if action == "GetRole" and not self.closed:
            return self._get_role(given.get("RoleName", ""))
        if self.closed or action != "SimulatePrincipalPolicy":
            return _say(
                403,
                f"<ErrorResponse xmlns='{NAMESPACE}'><Error><Type>Sender</Type>"
                f"<Code>AccessDenied</Code><Message>not authorized to perform: iam:{action}"
                "</Message></Error></ErrorResponse>",
            )
        resource = given["ResourceArns.member.1"]
        members = "".join(self._judge(action, resource) for action in _list_actions(given))
        return _say(
            200,
            f"<SimulatePrincipalPolicyResponse xmlns='{NAMESPACE}'><SimulatePrincipalPolicyResult>"
            f"<IsTruncated>false</IsTruncated><EvaluationResults>{members}</EvaluationResults>"
            "</SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>",
        )

    def _get_role(self, name: str) -> web.Response:
        if name not in self.roles:
            return _say(
                404,
                f"<ErrorResponse xmlns='{NAMESPACE}'><Error><Type>Sender</Type>"
                f"<Code>NoSuchEntity</Code><Message>The role with name {name} cannot be found."
                "</Message></Error></ErrorResponse>",
            )
        role = _write_role(name, self.roles[name])
        return _say(
            200,
            f"<GetRoleResponse xmlns='{NAMESPACE}'><GetRoleResult>{role}</GetRoleResult>"
            "</GetRoleResponse>",
        )

    def _judge(self, action: str, resource: str) -> str:
        self.asked.append((action, resource))
        refused = action in self.denied or (action, resource) in self.denied_on
        refused = refused or action in self.conditional
        missing = "<member>ssm:resourceTag/task</member>" if action in self.conditional else ""
        return (
            f"<member><EvalActionName>{action}</EvalActionName>"
            f"<EvalResourceName>{resource}</EvalResourceName>"
            f"<EvalDecision>{'implicitDeny' if refused else 'allowed'}</EvalDecision>"
            f"<MissingContextValues>{missing}</MissingContextValues></member>"
        )


def _write_role(name: str, trusted: str) -> str:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": trusted},
        "Action": "sts:AssumeRole",
    }
    document = quote(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    return (
        f"<Role><Path>/</Path><RoleName>{name}</RoleName><RoleId>AROA0000000000000LOCAL</RoleId>"
        f"<Arn>arn:aws:iam::{aws.ACCOUNT}:role/{name}</Arn>"
        "<CreateDate>2026-01-01T00:00:00Z</CreateDate>"
        f"<AssumeRolePolicyDocument>{document}</AssumeRolePolicyDocument></Role>"
    )


def _list_actions(given: dict[str, str]) -> list[str]:
    names = (f"ActionNames.member.{number}" for number in itertools.count(1))
    return list(itertools.takewhile(bool, (given.get(name, "") for name in names)))


def _say(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text, content_type="text/xml")


@asynccontextmanager
async def serving() -> AsyncIterator[Iam]:
    """Serve IAM until the block is left."""
    iam = Iam()
    async with listening(iam.answer) as iam.url:
        yield iam
