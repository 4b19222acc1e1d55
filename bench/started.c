/* A listener for Windows that tells the bench, on its port PORT, that it runs; then it fails for
   good, so that the life ends as soon as it can. */
#include <stdio.h>
#include <string.h>
#include <winsock2.h>

int main(void)
{
    WSADATA data;
    struct sockaddr_in bench;

    memset(&bench, 0, sizeof bench);
    bench.sin_family = AF_INET;
    bench.sin_port = htons(PORT);
    bench.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (WSAStartup(MAKEWORD(2, 2), &data) ||
        connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&bench, sizeof bench))
        return 9;
    puts("Http response code: NotFound");
    return 1;
}
