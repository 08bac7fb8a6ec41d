package demo;

/** Starts the part that the image's command names. */
final class Main {
    private Main() {}

    public static void main(String[] args) throws Exception {
        // Without it a body waits for the acknowledgement of its head, up to 40 ms.
        System.setProperty("sun.net.httpserver.nodelay", "true");
        String part = args.length == 1 ? args[0] : "";
        switch (part) {
            case "java-server" -> JavaServer.start();
            case "java-client" -> JavaClient.run();
            case "catalog" -> Catalog.start();
            default -> {
                System.err.println("want one argument: java-server, java-client or catalog");
                System.exit(2);
            }
        }
    }

    /** A variable of the environment, or what is meant without it. */
    static String setting(String name, String otherwise) {
        String value = System.getenv(name);
        return value == null || value.isEmpty() ? otherwise : value;
    }
}
