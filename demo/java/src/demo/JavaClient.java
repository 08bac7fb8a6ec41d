package demo;

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** java-client: logs in and looks at launches, again and again. */
final class JavaClient {
    private static final Duration LIMIT = Duration.ofSeconds(10);
    private static final Pattern TOKEN = Pattern.compile("\"token\":\"([^\"]+)\"");
    private static final String[] USERS = {"ada", "grace", "edsger", "barbara"};

    private final HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).connectTimeout(LIMIT).build();
    private final String server = Main.setting("SERVER_URL", "http://java-server");

    private JavaClient() {}

    static void run() throws InterruptedException {
        JavaClient c = new JavaClient();
        Duration pause = Duration.ofMillis(Long.parseLong(Main.setting("PAUSE_MS", "1000")));
        for (int round = 0; ; round++) {
            try {
                c.round(round);
            } catch (java.io.IOException e) {
                System.err.println("round " + round + ": " + e);
            }
            Thread.sleep(pause.toMillis());
        }
    }

    private void round(int number) throws java.io.IOException, InterruptedException {
        HttpRequest login = HttpRequest.newBuilder(URI.create(server + "/login")).timeout(LIMIT)
            .header("Content-Type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofString("{\"user\":\"" + USERS[number % USERS.length] + "\"}")).build();
        Matcher token = TOKEN.matcher(client.send(login, HttpResponse.BodyHandlers.ofString()).body());
        if (!token.find()) {
            System.err.println("round " + number + ": the answer to the login has no token");
            return;
        }
        String[] paths = {"/launches", "/launches/" + (1 + number % 40), "/launches/" + (1 + (number * 7) % 40)};
        for (String path : paths) {
            HttpRequest get = HttpRequest.newBuilder(URI.create(server + path)).timeout(LIMIT).header("Authorization", "Bearer " + token.group(1)).build();
            HttpResponse<String> answer = client.send(get, HttpResponse.BodyHandlers.ofString());
            if (answer.statusCode() != 200) {
                System.err.println("GET " + path + ": " + answer.statusCode());
            }
        }
    }
}
