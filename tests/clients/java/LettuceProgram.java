// [paste
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisURI;
import io.lettuce.core.StreamMessage;
import io.lettuce.core.XReadArgs;
import io.lettuce.core.XReadArgs.StreamOffset;
import io.lettuce.core.api.sync.RedisCommands;
import io.lettuce.core.codec.StringCodec;
import io.lettuce.core.output.ArrayOutput;
import io.lettuce.core.output.StatusOutput;
import io.lettuce.core.protocol.CommandArgs;
import io.lettuce.core.protocol.ProtocolKeyword;
import java.util.List;

// paste]
import io.lettuce.core.ClientOptions;
import io.lettuce.core.Consumer;
import io.lettuce.core.LettuceFutures;
import io.lettuce.core.Limit;
import io.lettuce.core.Range;
import io.lettuce.core.RedisException;
import io.lettuce.core.RedisFuture;
import io.lettuce.core.SslOptions;
import io.lettuce.core.XAutoClaimArgs;
import io.lettuce.core.api.StatefulRedisConnection;
import io.lettuce.core.models.stream.ClaimedMessages;
import io.lettuce.core.models.stream.PendingMessage;
import io.lettuce.core.pubsub.RedisPubSubAdapter;
import io.lettuce.core.pubsub.StatefulRedisPubSubConnection;
import java.io.File;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;

/** Lettuce, with the settings that it has by default. */
class LettuceProgram extends Story {
    // [paste
    /** A command that Lettuce doesn't know. */
    record Word(String name) implements ProtocolKeyword {
        public byte[] getBytes() {
            return name.getBytes();
        }
    }

    static CommandArgs<String, String> words(String... words) {
        return new CommandArgs<>(StringCodec.UTF8).addValues(words);
    }

    // paste]
    public static void main(String[] arguments) throws Exception {
        int handled = 0; // [test]

        // [paste
        RedisClient client = RedisClient.create(RedisURI.create("localhost", PORT));
        RedisCommands<String, String> redis = client.connect().sync();
        redis.dispatch(new Word("publish"), new StatusOutput<>(StringCodec.UTF8), words("orders", "created", "one"));
        redis.dispatch(new Word("append"), new ArrayOutput<>(StringCodec.UTF8),
                words("orders", "0", "paid", "two", "", "")); // if event 0 is its last one
        List<Object> page = redis.dispatch(new Word("read"), new ArrayOutput<>(StringCodec.UTF8),
                words("stream", "orders", "0", "100")); // from 0 on, at most 100
        List<?> events = (List<?>) page.get(1); // behind where to go on
        events.forEach(System.out::println);

        RedisCommands<String, String> reader = client.connect().sync(); // what waits has a connection of its own
        String last = "0"; // "$": what comes from now on
        while (true) {
            var block = XReadArgs.Builder.block(1000); // less than its time-out, 60 s
            for (StreamMessage<String, String> entry : reader.xread(block, StreamOffset.from("orders", last))) {
                System.out.println(entry.getId() + " " + entry.getBody()); // 1790000000000-0 {created=one}
                last = entry.getId();
                say("xread", shown(entry.getBody())); // [test]
                handled++; // [test]
            }
            if (handled == 3) { // [test]
                break; // [test]
            } // [test]
        }
        // paste]

        List<Object> shown = new ArrayList<>(List.of("read"));
        for (Object event : events) {
            List<?> fields = (List<?>) event;
            shown.add(fields.get(4) + "=" + fields.get(5));
        }
        say(shown.toArray());
        patterns(client);
        channels(RedisClient.create(RedisURI.builder().withHost("localhost").withPort(PORT).withDatabase(1).build()));
        say("published", redis.publish("news:1", "hello"),
                shown(redis.xrange("news:1", Range.unbounded()).get(0).getBody()));
        group(redis);
        takeover(redis);
        together(redis);
        outage(client, redis);
        secure();
        System.exit(0);
    }

    /** Its messages are put into a queue. */
    static BlockingQueue<String> messages(StatefulRedisPubSubConnection<String, String> connection) {
        BlockingQueue<String> arrived = new LinkedBlockingQueue<>();
        connection.addListener(new RedisPubSubAdapter<String, String>() {
            @Override public void message(String channel, String message) {
                arrived.add(channel + " " + message);
            }

            @Override public void message(String pattern, String channel, String message) {
                arrived.add(channel + " " + message);
            }
        });
        return arrived;
    }

    static void patterns(RedisClient client) throws Exception {
        try (StatefulRedisPubSubConnection<String, String> connection = client.connectPubSub()) {
            BlockingQueue<String> arrived = messages(connection);
            connection.sync().psubscribe("ord*");
            say("psubscribed");
            say("psubscribe", arrived.take());
        }
    }

    static void channels(RedisClient client) throws Exception {
        try (StatefulRedisPubSubConnection<String, String> connection = client.connectPubSub()) {
            BlockingQueue<String> arrived = messages(connection);
            connection.sync().subscribe("orders");
            say("subscribed");
            say("subscribe", arrived.take());
        }
    }

    static void group(RedisCommands<String, String> redis) {
        say("xadd", redis.xadd("orders", Map.of("closed", "six")).split("-")[1]);
        redis.xgroupCreate(StreamOffset.from("orders", "0"), "billing");
        List<StreamMessage<String, String>> given = redis.xreadgroup(Consumer.from("billing", "ann"),
                XReadArgs.Builder.count(2), StreamOffset.lastConsumed("orders"));
        say("xreadgroup", shown(given.get(0).getBody()), shown(given.get(1).getBody()));
        say("xack", redis.xack("orders", "billing", given.get(0).getId(), given.get(1).getId()));
        say("xpending", redis.xpending("orders", "billing").getCount());
    }

    /** Bob takes what ann was given and didn't finish, and an operator sees that. */
    static void takeover(RedisCommands<String, String> redis) {
        redis.xreadgroup(Consumer.from("billing", "ann"), XReadArgs.Builder.count(1),
                StreamOffset.lastConsumed("orders"));
        ClaimedMessages<String, String> claimed = redis.xautoclaim("orders",
                XAutoClaimArgs.Builder.xautoclaim(Consumer.from("billing", "bob"), 0, "0"));
        say("xautoclaim", shown(claimed.getMessages().get(0).getBody()));
        PendingMessage waiting = redis.xpending("orders", "billing", Range.unbounded(), Limit.from(10)).get(0);
        say("waits for", waiting.getConsumer(), waiting.getRedeliveryCount());
        Object group = redis.xinfoGroups("orders").get(0);
        List<Object> shown = new ArrayList<>(List.of("xinfo", value(redis.xinfoStream("orders"), "length"),
                value(group, "name"), value(group, "pending")));
        for (Object consumer : redis.xinfoConsumers("orders", "billing")) {
            shown.add(value(consumer, "name"));
        }
        say(shown.toArray());
    }

    /** What stands behind a name, among names and values in turns. */
    static Object value(Object pairs, String name) {
        List<?> list = (List<?>) pairs;
        return list.get(list.indexOf(name) + 1);
    }

    /** A pipeline, and what is stored as a whole or not at all. */
    static void together(RedisCommands<String, String> redis) {
        StatefulRedisConnection<String, String> connection = redis.getStatefulConnection();
        List<RedisFuture<String>> ids = new ArrayList<>();
        connection.setAutoFlushCommands(false);
        for (int number = 0; number < 100; number++) {
            ids.add(connection.async().xadd("batch:1", Map.of("counted", String.valueOf(number))));
        }
        connection.flushCommands();
        connection.setAutoFlushCommands(true);
        LettuceFutures.awaitAll(Duration.ofMinutes(1), ids.toArray(new RedisFuture<?>[0]));
        say("pipelined", ids.size(), "stored", redis.xlen("batch:1"));

        redis.multi();
        redis.xadd("pair", Map.of("debited", "1"));
        redis.xadd("pair", Map.of("credited", "1"));
        say("multi", redis.exec().size());
        redis.multi();
        redis.xadd("pair", Map.of("debited", "2"));
        redis.xlen("pair");
        try {
            redis.exec();
        } catch (RedisException refused) {
            say("multi refused", redis.xlen("pair"));
        }
    }

    /** The same connections go on, with what they have subscribed to. */
    static void outage(RedisClient client, RedisCommands<String, String> redis) throws Exception {
        try (StatefulRedisPubSubConnection<String, String> connection = client.connectPubSub()) {
            BlockingQueue<String> arrived = messages(connection);
            connection.sync().psubscribe("ord*");
            outage(redis::ping);
            say("psubscribe", arrived.take());
        }
    }

    static void secure() {
        RedisClient client = RedisClient.create(RedisURI.builder().withHost("localhost").withPort(TLS_PORT)
                .withSsl(true).withAuthentication("ann", "correct horse").build());
        SslOptions trusted = SslOptions.builder().trustManager(new File(CA)).build();
        client.setOptions(ClientOptions.builder().sslOptions(trusted).build());
        say("secure", client.connect().sync().aclWhoami());
    }
}
