#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <netinet/in.h>

static void leave(int number) { _exit(0); }

int main(void) {
    static const char answer[] = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhigh tide\n";
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(8080)};
    int door = socket(AF_INET, SOCK_STREAM, 0);
    signal(SIGTERM, leave);
    if (bind(door, (struct sockaddr *)&here, sizeof here) || listen(door, 64)) {
        perror("port 8080");
        return 1;
    }
    for (;;) {
        char request[4096];
        int caller = accept(door, NULL, NULL);
        if (read(caller, request, sizeof request) > 0)
            write(caller, answer, sizeof answer - 1);
        close(caller);
    }
}
