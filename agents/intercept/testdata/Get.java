import java.net.URI;

/** Prints what it is answered under a URL. */
public class Get {
    public static void main(String[] args) throws Exception {
        URI.create(args[0]).toURL().openStream().transferTo(System.out);
    }
}
