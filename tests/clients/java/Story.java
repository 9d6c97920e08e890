import java.io.FileInputStream;
import java.io.InputStream;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.Map;
import java.util.stream.Collectors;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** What both programs print, and wait for. */
class Story {
    static final int PORT = Integer.parseInt(System.getenv("PORT"));
    static final int TLS_PORT = Integer.parseInt(System.getenv("TLS_PORT"));
    static final String CA = System.getenv("CA");

    static void say(Object... words) {
        StringBuilder line = new StringBuilder("-");
        for (Object word : words) {
            line.append(' ').append(word);
        }
        System.out.println(line);
    }

    /** An entry's fields as the lines have them. */
    static String shown(Map<String, String> fields) {
        return fields.entrySet().stream().map(pair -> pair.getKey() + "=" + pair.getValue())
                .collect(Collectors.joining(" "));
    }

    /** Tells that the server may stop, waits until it did, and comes back once `ask` works again. */
    static void outage(Runnable ask) throws Exception {
        say("ready for an outage");
        System.in.read();
        for (int tries = 0; tries < 1200; tries++) {
            try {
                ask.run();
                say("reconnected");
                return;
            } catch (RuntimeException refused) {
                Thread.sleep(50);
            }
        }
    }

    /** What it takes to believe the server with TLS. */
    static SSLContext trusted() throws Exception {
        KeyStore authorities = KeyStore.getInstance(KeyStore.getDefaultType());
        authorities.load(null, null);
        try (InputStream pem = new FileInputStream(CA)) {
            authorities.setCertificateEntry("ours", CertificateFactory.getInstance("X.509").generateCertificate(pem));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(authorities);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context;
    }
}
