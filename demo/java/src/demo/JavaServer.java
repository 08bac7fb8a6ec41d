package demo;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Base64;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/**
 * java-server: POST /login gives a token; with it, GET /launches and GET /launches/ID answer with what the
 * catalogue says. GET /healthz is for probes.
 */
final class JavaServer {
    private static final Duration LIMIT = Duration.ofSeconds(5);
    private static final Pattern LOGIN = Pattern.compile("\"user\"\\s*:\\s*\"([a-z]{1,32})\"");
    private static final Pattern LAUNCH = Pattern.compile("/launches/[0-9]{1,6}");

    private final HttpClient client;
    private final String catalog;
    private final SecretKeySpec key;

    private JavaServer() throws Exception {
        catalog = Main.setting("CATALOG_URL", "https://catalog.speedscale-demo.svc.cluster.local");
        key = new SecretKeySpec(Main.setting("TOKEN_KEY", "demo").getBytes(StandardCharsets.UTF_8), "HmacSHA256");
        client = HttpClient.newBuilder().connectTimeout(LIMIT).sslContext(Trust.withFile(Main.setting("CATALOG_CA", ""))).build();
    }

    static void start() throws Exception {
        JavaServer s = new JavaServer();
        HttpServer server = HttpServer.create(new InetSocketAddress(Integer.parseInt(Main.setting("PORT", "8080"))), 0);
        server.createContext("/healthz", Http.handler(e -> new Http.Answer(200, "{\"status\":\"ok\"}")));
        server.createContext("/login", Http.handler(s::login));
        server.createContext("/launches", Http.handler(s::launches));
        Http.serve(server);
    }

    private Http.Answer login(HttpExchange e) throws Exception {
        if (!e.getRequestMethod().equals("POST")) {
            return new Http.Answer(405, "{\"error\":\"want POST\"}");
        }
        Matcher user = LOGIN.matcher(new String(e.getRequestBody().readNBytes(4096), StandardCharsets.UTF_8));
        if (!user.find()) {
            return new Http.Answer(400, "{\"error\":\"want {\\\"user\\\": NAME}\"}");
        }
        return new Http.Answer(200, "{\"user\":\"" + user.group(1) + "\",\"token\":\"" + token(user.group(1)) + "\"}");
    }

    /** A JWT (RFC 7519) that names the user, and is the same each time. */
    private String token(String user) throws Exception {
        String head = encode("{\"alg\":\"HS256\",\"typ\":\"JWT\"}".getBytes(StandardCharsets.UTF_8));
        String body = encode(("{\"sub\":\"" + user + "\"}").getBytes(StandardCharsets.UTF_8));
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(key);
        return head + "." + body + "." + encode(mac.doFinal((head + "." + body).getBytes(StandardCharsets.UTF_8)));
    }

    private static String encode(byte[] bytes) {
        return Base64.getUrlEncoder().withoutPadding().encodeToString(bytes);
    }

    /** Any token will do: those that a replay sends are masked. */
    private static boolean authorized(HttpExchange e) {
        String header = e.getRequestHeaders().getFirst("Authorization");
        return header != null && header.startsWith("Bearer ") && header.length() > "Bearer ".length();
    }

    private Http.Answer launches(HttpExchange e) throws Exception {
        String path = e.getRequestURI().getPath();
        if (!path.equals("/launches") && !LAUNCH.matcher(path).matches()) {
            return new Http.Answer(404, "{\"error\":\"no such page\"}");
        }
        if (!authorized(e)) {
            return new Http.Answer(401, "{\"error\":\"log in first\"}");
        }
        HttpResponse<String> found = ask(path);
        return new Http.Answer(found.statusCode(), "{\"from\":\"java-server\",\"catalog\":" + found.body() + "}");
    }

    private HttpResponse<String> ask(String path) throws IOException, InterruptedException {
        HttpRequest request = HttpRequest.newBuilder(URI.create(catalog + path)).timeout(LIMIT).header("Accept", "application/json").build();
        return client.send(request, HttpResponse.BodyHandlers.ofString());
    }
}
