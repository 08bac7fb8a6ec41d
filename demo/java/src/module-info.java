/** The demo: java-server, the catalogue it asks over HTTPS, and java-client, which drives it. */
module demo {
    requires java.net.http;
    requires jdk.httpserver;
}
