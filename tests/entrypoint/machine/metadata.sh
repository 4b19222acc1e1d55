#!/bin/sh
# Answer one question to the instance metadata service, as systemd gives it: on stdin and stdout.
read -r _ path _
while read -r line && [ "$line" != "$(printf '\r')" ]; do :; done
status='200 OK'
case $path in
    /latest/api/token) text=session ;;
    */instance-id) text=i-0123456789abcdef0 ;;
    */placement/region) text=eu-central-1 ;;
    *) status='404 Not Found' text= ;;
esac
printf 'HTTP/1.1 %s\r\nContent-Length: %s\r\nConnection: close\r\n\r\n%s' "$status" ${#text} "$text"
