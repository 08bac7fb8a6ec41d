package demo;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpHandler;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** What the servers of the demo share. */
final class Http {
    private static final int WORKERS = 16;

    private Http() {}

    /** The answer to a request. */
    record Answer(int status, String json) {}

    /** Answers requests of one path. */
    interface Route {
        Answer answer(HttpExchange exchange) throws Exception;
    }

    /** A handler that turns what goes wrong into an answer of its own, and says it in the log. */
    static HttpHandler handler(Route route) {
        return exchange -> {
            Answer answer;
            try {
                answer = route.answer(exchange);
            } catch (Exception e) {
                System.err.println(exchange.getRequestMethod() + " " + exchange.getRequestURI() + ": " + e);
                answer = new Answer(502, "{\"error\":\"a dependency failed\"}");
            }
            send(exchange, answer);
        };
    }

    private static void send(HttpExchange exchange, Answer answer) throws IOException {
        byte[] body = answer.json().getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", "application/json");
        exchange.sendResponseHeaders(answer.status(), body.length);
        try (var out = exchange.getResponseBody()) {
            out.write(body);
        }
    }

    /** Serves until the process is told to end; then what is under way may finish. */
    static void serve(HttpServer server) {
        ExecutorService workers = Executors.newFixedThreadPool(WORKERS);
        server.setExecutor(workers);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            server.stop(2);
            workers.shutdown();
        }));
        server.start();
    }
}
