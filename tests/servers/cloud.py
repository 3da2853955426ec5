"""Counterparts of the clouds' own services on loopback: they check what they are sent, and say why not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import time
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

import jwt
from tests.servers.raw import RawServer

CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
WORKLOAD_POOL = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def measured():
    """Return what measures the process of an SDK, which has no other variables than a test gives it."""
    return {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}


class Clock:
    """The time of a test: the real one, moved by hand."""

    def __init__(self):
        self.now = time.time()

    def __call__(self):
        return self.now


@dataclass(frozen=True)
class Answer:
    """A status, a JSON value or bytes, and headers."""

    status: int
    value: object = b""
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def body(self):
        return self.value if isinstance(self.value, bytes) else json.dumps(self.value).encode()


def serving(answer, *, context=None):
    """Return a server that gives each request the Answer of `answer(received)`."""

    def talk(conversation):
        while (received := conversation.receive()) is not None:
            said = answer(received)
            headers = (("Content-Type", "application/json"), *said.headers)
            conversation.respond(said.body, status=f"{said.status} Said", headers=headers)

    return RawServer(talk, context=context)


def form_of(received):
    """Read a form that a request has sent."""
    return dict(parse_qsl(received.body.decode(), keep_blank_values=True))


def query_of(received):
    """Read the query of a request's target."""
    return dict(parse_qsl(urlsplit(received.target).query, keep_blank_values=True))


def path_of(received):
    """Read the path of a request's target."""
    return urlsplit(received.target).path


def refused(why):
    """Say no in the manner of OAuth (RFC 6749 section 5.2)."""
    return Answer(400, {"error": "invalid_request", "error_description": why})


@dataclass
class GoogleMetadata:
    """The metadata server of a machine of Google's cloud: hands out the tokens of its service account."""

    token: str = "ya29.metadata"
    lifetime: int = 3600
    tokens: int = 0

    def __call__(self, received):
        if received.header("Metadata-Flavor") != "Google":
            return Answer(403, b"Missing Metadata-Flavor:Google header.")
        account = "/computeMetadata/v1/instance/service-accounts/default/"
        flavor = (("Metadata-Flavor", "Google"),)
        if path_of(received) == "/":
            return Answer(200, b"computeMetadata/\n", flavor)
        if path_of(received) == account:
            return Answer(
                200, {"email": "default", "scopes": [CLOUD_PLATFORM], "aliases": ["default"]}, flavor
            )
        if path_of(received) == f"{account}token" and query_of(received) == {"scopes": CLOUD_PLATFORM}:
            self.tokens += 1
            said = {"access_token": self.token, "expires_in": self.lifetime, "token_type": "Bearer"}
            return Answer(200, said, flavor)
        return Answer(404, b"not found", flavor)


@dataclass
class GoogleTokens:
    """A token endpoint of Google: service accounts (JWT), users (refresh token), workloads (RFC 8693)."""

    key: object = None
    email: str = "robot@project.iam.gserviceaccount.com"
    audience: str = "https://oauth2.googleapis.com/token"
    token: str = "ya29.tokens"
    lifetime: int = 3600
    tokens: int = 0

    def __call__(self, received):
        form = form_of(received)
        check = {JWT_BEARER: self._assertion, "refresh_token": self._user, TOKEN_EXCHANGE: self._workload}
        problem = check.get(form.get("grant_type"), self._unknown)(form)
        if problem:
            return refused(problem)
        self.tokens += 1
        return Answer(200, {"access_token": self.token, "expires_in": self.lifetime, "token_type": "Bearer"})

    def _unknown(self, form):
        return f"unknown grant type {form.get('grant_type')}"

    def _assertion(self, form):
        try:
            claims = jwt.decode(form["assertion"], self.key, algorithms=["RS256"], audience=self.audience)
        except jwt.InvalidTokenError as error:
            return f"the assertion does not verify: {error}"
        expected = {"iss": self.email, "scope": CLOUD_PLATFORM}
        return "" if expected.items() <= claims.items() else f"claims {sorted(claims)}"

    def _user(self, form):
        expected = {"client_id": "client", "client_secret": "client-secret", "refresh_token": "refresh"}
        return "" if expected.items() <= form.items() else "not this user"

    def _workload(self, form):
        expected = {
            "audience": WORKLOAD_POOL,
            "scope": CLOUD_PLATFORM,
            "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "subject_token": "token-of-the-workload",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        }
        return "" if expected.items() <= form.items() else f"the exchange lacks something: {sorted(form)}"


@dataclass
class Ecr:
    """GetAuthorizationToken of AWS, private and public; the signature must be that of `keys`."""

    keys: dict[str, str] = field(default_factory=lambda: {"AKIDTEST": "secret-key"})
    password: str = "ecr-password"
    username: str = "AWS"
    lifetime: float = 12 * 3600
    clock: object = time.time
    failing: str = ""
    calls: list = field(default_factory=list)
    shape: object = None

    def __call__(self, received):
        self.calls.append(received)
        problem = self.failing or self._check_signature(received)
        if problem:
            return Answer(400, {"__type": "AccessDeniedException", "message": problem})
        data = {
            "authorizationToken": base64.b64encode(f"{self.username}:{self.password}".encode()).decode(),
            "expiresAt": self.clock() + self.lifetime,
            "proxyEndpoint": "https://somewhere.example",
        }
        target = received.header("X-Amz-Target")
        if self.shape is not None:
            return Answer(200, self.shape)
        if target == "SpencerFrontendService.GetAuthorizationToken":
            return Answer(200, {"authorizationData": data})
        if target == "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken":
            return Answer(200, {"authorizationData": [data]})
        return Answer(400, {"__type": "UnknownOperationException", "message": str(target)})

    @property
    def asked(self):
        """Each call as (region, service, body)."""
        return [(*self._credential(call)[2:4], json.loads(call.body)) for call in self.calls]

    def _credential(self, received):
        return re.search(r"Credential=([^,]+)", received.header("Authorization"))[1].split("/")

    def _check_signature(self, received):
        """Compute the signature of AWS Signature Version 4 again."""
        header = received.header("Authorization")
        if header is None:
            return "the request is not signed"
        key_id, date, region, service, _ = self._credential(received)
        names = re.search(r"SignedHeaders=([^,]+)", header)[1].split(";")
        lines = "".join(f"{name}:{received.header(name)}\n" for name in names)
        body = hashlib.sha256(received.body).hexdigest()
        canonical = f"POST\n/\n\n{lines}\n{';'.join(names)}\n{body}"
        scope = f"{date}/{region}/{service}/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{received.header('X-Amz-Date')}\n{scope}\n"
        text += hashlib.sha256(canonical.encode()).hexdigest()
        key = f"AWS4{self.keys.get(key_id)}".encode()
        for part in (date, region, service, "aws4_request"):
            key = hmac.new(key, part.encode(), "sha256").digest()
        expected = hmac.new(key, text.encode(), "sha256").hexdigest()
        return "" if header.endswith(f"Signature={expected}") else "the signature does not match"


@dataclass
class Imds:
    """The metadata service of an EC2 machine (IMDSv2), or of a container when `container_token` is set."""

    expires: str = "2099-01-01T00:00:00Z"
    container_token: str = ""
    calls: list = field(default_factory=list)

    def __call__(self, received):
        self.calls.append(received)
        keys = {
            "Code": "Success",
            "AccessKeyId": "AKIDROLE",
            "SecretAccessKey": "role-key",
            "Token": "role-session",
            "Expiration": self.expires,
        }
        if self.container_token:
            ok = received.header("Authorization") == self.container_token
            return Answer(200, keys) if ok else Answer(403, {"message": "wrong token"})
        if received.method == "PUT":
            return Answer(200, b"imds-session")
        if received.header("X-aws-ec2-metadata-token") != "imds-session":
            return Answer(401)
        roles = "/latest/meta-data/iam/security-credentials/"
        if path_of(received) == roles:
            return Answer(200, b"the-role")
        return Answer(200, keys) if path_of(received) == f"{roles}the-role" else Answer(404)


@dataclass
class EntraId:
    """Microsoft's token endpoint: client secrets, certificates and federated tokens of one application."""

    authority: str = "https://login.microsoftonline.com"
    secret: str = "client-secret"
    certificate_key: object = None
    federated: str = "token-of-the-pod"
    calls: list = field(default_factory=list)

    def __call__(self, received):
        tenant = f"{self.authority}/tenant-id"
        if path_of(received) == "/tenant-id/v2.0/.well-known/openid-configuration":
            return Answer(
                200,
                {
                    "authorization_endpoint": f"{tenant}/oauth2/v2.0/authorize",
                    "token_endpoint": f"{tenant}/oauth2/v2.0/token",
                    "issuer": f"{tenant}/v2.0",
                },
            )
        if path_of(received) == "/common/discovery/instance":
            host = urlsplit(self.authority).hostname
            aliases = {"preferred_network": host, "preferred_cache": host, "aliases": [host]}
            return Answer(200, {"tenant_discovery_endpoint": tenant, "metadata": [aliases]})
        if path_of(received) != "/tenant-id/oauth2/v2.0/token":
            return Answer(404, {"error": "not_found", "error_description": received.target})
        form = form_of(received)
        self.calls.append(form)
        problem = self._check(form)
        if problem:
            said = {"error": "invalid_client", "error_description": f"AADSTS7000215: {problem}"}
            return Answer(401, said)
        said = {"token_type": "Bearer", "expires_in": 3599, "access_token": f"aad for {form['scope']}"}
        return Answer(200, said)

    def _check(self, form):
        if (form.get("client_id"), form.get("grant_type")) != ("client-id", "client_credentials"):
            return "another application"
        if "client_secret" in form:
            return "" if form["client_secret"] == self.secret else "Invalid client secret provided."
        if form.get("client_assertion_type") != CLIENT_ASSERTION:
            return "no proof"
        if form["client_assertion"] == self.federated:
            return ""
        audience = f"{self.authority}/tenant-id/oauth2/v2.0/token"
        try:
            claims = jwt.decode(
                form["client_assertion"],
                self.certificate_key,
                algorithms=["RS256", "PS256"],
                audience=audience,
            )
        except jwt.InvalidTokenError as error:
            return f"the assertion does not verify: {error}"
        return "" if claims["iss"] == claims["sub"] == "client-id" else "another subject"


@dataclass
class ManagedIdentity:
    """The endpoints that give tokens to managed identities: IMDS, App Service, Cloud Shell."""

    calls: list = field(default_factory=list)
    said: dict = field(default_factory=dict)

    def __call__(self, received):
        asked = query_of(received) or form_of(received)
        self.calls.append(received)
        imds = received.header("Metadata") == "true"
        app_service = received.header("X-IDENTITY-HEADER") == "identity-header"
        machine_learning = received.header("secret") == "msi-secret"
        if not (imds or app_service or machine_learning):
            return refused("Required metadata header not specified")
        resource = asked.get("resource")
        said = {
            "access_token": f"aad for {resource}",
            "expires_in": "3599",
            "expires_on": str(int(time.time()) + 3599),
        }
        return Answer(200, {**said, "resource": resource, "token_type": "Bearer", **self.said})


@dataclass
class AzureRegistry:
    """The exchange of an Azure registry: it takes a token for one of `audiences`, and checks every field."""

    host: str = "team.azurecr.io"
    tenant: str | None = "tenant-id"
    audiences: tuple[str, ...] = ("https://management.azure.com",)
    refresh_token: str = ""
    lifetime: float = 3 * 3600
    clock: object = time.time
    before: list = field(default_factory=list)
    calls: list = field(default_factory=list)

    def __call__(self, received):
        form = form_of(received)
        self.calls.append(form)
        if self.before:
            return self.before.pop(0)
        expected = {"grant_type": "access_token", "service": self.host}
        if self.tenant:
            expected["tenant"] = self.tenant
        token = form.pop("access_token", "").removeprefix("aad for ").removesuffix("/.default")
        if (received.method, received.target, received.header("Authorization")) != (
            "POST",
            "/oauth2/exchange",
            None,
        ):
            return refused("not an exchange")
        if form != expected:
            return refused(f"fields {sorted(form)}")
        if token.rstrip("/") not in self.audiences:
            return Answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong audience"}]})
        return Answer(200, {"refresh_token": self.refresh_token or self._jwt()})

    def _jwt(self):
        return jwt.encode({"exp": int(self.clock() + self.lifetime), "aud": self.host}, "k" * 32)
