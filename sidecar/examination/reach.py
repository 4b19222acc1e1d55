"""Say what to change where a server does not answer."""

from __future__ import annotations

from sidecar.examination.probe import Trouble

OPEN_WAY = {
    Trouble.NAME: "mend the name service; see the line dns",
    Trouble.UNREACHABLE: "open the way: a NAT gateway, the security group's egress, or a proxy",
    Trouble.SILENT: "open the way: a NAT gateway, the security group's egress, or a proxy",
    Trouble.CERTIFICATE: "let the image trust its issuer; see the line certificates",
    Trouble.PROXY: "mend the proxy, or except the host (NO_PROXY); see the line proxy",
    Trouble.BROKEN: "look at what stands between: a firewall or a proxy that ends connections",
}
"""What to change, by why there is no answer."""
