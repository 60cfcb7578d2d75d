"""What temporary credentials allow: calls of one endpoint, and nothing else."""

from __future__ import annotations

import json
import re

# SageMaker's runtime has one route for an answer at once, and one for an answer in parts.
ACTIONS = ("sagemaker:InvokeEndpoint", "sagemaker:InvokeEndpointWithResponseStream")
_ROLE = re.compile(r"arn:(?P<partition>aws[a-z-]*):iam::(?P<account>[0-9]{12}):role/")


def account_of_role(role: str) -> str:
    """Return the number of the account that a role is in, by its ARN; "" of what is no such ARN."""
    found = _ROLE.match(role)
    return found["account"] if found else ""


def partition_of(arn: str) -> str:
    """Return the partition that an ARN is of: aws, aws-cn, aws-us-gov."""
    return arn.split(":")[1] if arn.startswith("arn:") else "aws"


def endpoint_arns(partition: str, region: str, account: str, name: str) -> list[str]:
    """Return the ARNs of an endpoint: as it is named, and in small letters, as SageMaker writes it in its own answers.

    It is one endpoint all the same: the names of two may not differ by that alone (CreateEndpoint).
    """
    return [
        f"arn:{partition}:sagemaker:{region}:{account}:endpoint/{each}" for each in dict.fromkeys((name, name.lower()))
    ]


def session_policy(arns: list[str]) -> str:
    """Return the policy in JSON that is laid over whatever the user or the role may do: it can only take away."""
    statement = {"Effect": "Allow", "Action": [*ACTIONS], "Resource": arns}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, separators=(",", ":"))
