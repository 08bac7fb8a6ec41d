package demo;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpsConfigurator;
import com.sun.net.httpserver.HttpsServer;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.List;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;

/** The catalogue: GET /launches and GET /launches/ID, over HTTPS, with the certificate of TLS_CERT and TLS_KEY (PEM). */
final class Catalog {
    private static final List<String> SHIPS = List.of("Meridian", "Halcyon", "Osprey", "Tern", "Petrel");
    private static final int LAUNCHES = 40;

    private Catalog() {}

    static void start() throws Exception {
        HttpsServer server = HttpsServer.create(new InetSocketAddress(Integer.parseInt(Main.setting("PORT", "8443"))), 0);
        server.setHttpsConfigurator(new HttpsConfigurator(context(Main.setting("TLS_CERT", "/tls/tls.crt"), Main.setting("TLS_KEY", "/tls/tls.key"))));
        server.createContext("/healthz", Http.handler(e -> new Http.Answer(200, "{\"status\":\"ok\"}")));
        server.createContext("/launches", Http.handler(Catalog::launches));
        Http.serve(server);
    }

    private static Http.Answer launches(HttpExchange e) {
        String path = e.getRequestURI().getPath();
        if (path.equals("/launches")) {
            StringBuilder all = new StringBuilder();
            for (int i = 1; i <= LAUNCHES; i++) {
                all.append(i == 1 ? "" : ",").append(launch(i));
            }
            return new Http.Answer(200, "[" + all + "]");
        }
        String id = path.startsWith("/launches/") ? path.substring("/launches/".length()) : "";
        int number = id.matches("[0-9]{1,6}") ? Integer.parseInt(id) : 0;
        if (number < 1 || number > LAUNCHES) {
            return new Http.Answer(404, "{\"error\":\"no such launch\"}");
        }
        return new Http.Answer(200, launch(number));
    }

    private static String launch(int number) {
        return "{\"id\":" + number + ",\"ship\":\"" + SHIPS.get(number % SHIPS.size()) + "\",\"crew\":" + (2 + number % 7) + "}";
    }

    private static SSLContext context(String certificate, String key) throws Exception {
        Certificate[] chain;
        try (var in = Files.newInputStream(Path.of(certificate))) {
            chain = CertificateFactory.getInstance("X.509").generateCertificates(in).toArray(Certificate[]::new);
        }
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        store.setKeyEntry("server", privateKey(Files.readString(Path.of(key)), chain[0].getPublicKey().getAlgorithm()), new char[0], chain);
        KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        keys.init(store, new char[0]);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), null, null);
        return context;
    }

    /** Reads a key in PKCS #8 (RFC 5958), in PEM. */
    private static PrivateKey privateKey(String pem, String algorithm) throws Exception {
        String base64 = pem.replaceAll("-----[A-Z ]+-----", "").replaceAll("\\s", "");
        return KeyFactory.getInstance(algorithm).generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(base64)));
    }
}
