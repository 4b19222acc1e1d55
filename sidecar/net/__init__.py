"""Network tools that know no service: HTTP server, marked sockets, retry."""
