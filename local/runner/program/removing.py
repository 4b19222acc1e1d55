"""`remove`, and the deletion of what a configured root keeps."""

from . import codes, misbehaviour
from .arguments import Arguments
from .client import Client
from .dotcom import Dotcom
from .exchange import Exchange
from .misbehaviour import Misbehaviour
from .store import CREDENTIALS, KEY, SETTINGS, Store, truth
from .tenant import Tenant
from .terminal import Terminal
from .wire import UnreachableError

_ACTION = "Removing runner from the server"
_SERVICE = "Removing service"
_MISSING = (
    "Cannot connect to server, because config files are missing. "
    "Skipping removing runner from the server."
)


def remove(root: str, arguments: Arguments, terminal: Terminal, knobs: Misbehaviour) -> int:
    """Take the runner off GitHub and delete its files; gives the exit code."""
    store = Store(root)
    if arguments.flag("local"):
        forget(store, terminal)
        return codes.SUCCESS
    kind = knobs.read_kind("remove")
    misbehaviour.leave(kind)
    terminal.section("Runner removal")
    action = _SERVICE if store.has(".service") else _ACTION
    try:
        if kind == "hang":
            misbehaviour.hang()
        knobs.dawdle("remove")
        _refuse_service(store, terminal)
        _deregister(store, arguments, terminal, knobs, kind)
        forget(store, terminal)
    except (codes.TerminatedError, UnreachableError) as error:
        terminal.error(f"Failed: {action}")
        terminal.error(str(error))
        return codes.TERMINATED
    terminal.line()
    return codes.SUCCESS


def _refuse_service(store: Store, terminal: Terminal) -> None:
    if store.has(".service"):
        terminal.line(_SERVICE)
        raise codes.TerminatedError("Uninstall service first")


def _deregister(
    store: Store, arguments: Arguments, terminal: Terminal, knobs: Misbehaviour, kind: str
) -> None:
    if kind == "fail":
        raise codes.TerminatedError("The SSL connection could not be established.")
    if not (store.has(SETTINGS) and store.has(CREDENTIALS)):
        terminal.line(_MISSING)
        return
    settings = store.load(SETTINGS)
    url = settings.get("githuburl")
    if not url:
        # A JIT configuration holds no GitHub URL: the token is taken for one of the service's
        # own, and refused (actions/runner issues 2920, 3330).
        text = "VS30063: You are not authorized to access {}."
        raise codes.TerminatedError(text.format(settings.get("serverurl")))
    client = Client(knobs)
    exchange = Exchange(str(url), client, terminal, knobs)
    token = exchange.token(arguments, "remove")
    if truth(settings.get("userunneradminflow")):
        Dotcom(exchange, token).delete(settings["agentid"])
    else:
        granted = exchange.exchange(token, "remove")
        # To the address that is written down, whatever the exchange said.
        tenant = Tenant(client, str(settings["serverurl"]), str(granted["token"]))
        tenant.connect()
        if not tenant.agents(str(settings["agentname"])):
            terminal.line(f"Does not exist. Skipping {_ACTION}")
        else:
            tenant.delete(settings["agentid"])
    terminal.line()
    terminal.success("Runner removed successfully")


def forget(store: Store, terminal: Terminal) -> None:
    """Delete the files."""
    if store.has(CREDENTIALS):
        store.delete(CREDENTIALS)
        store.delete(KEY)
        terminal.success("Removed .credentials")
    else:
        terminal.line("Does not exist. Skipping Removing .credentials")
    if store.has(SETTINGS):
        store.delete(SETTINGS)
        terminal.success("Removed .runner")
    else:
        terminal.line("Does not exist. Skipping Removing .runner")
