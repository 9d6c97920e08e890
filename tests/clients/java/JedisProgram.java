// [paste
import java.util.List;
import java.util.Map;
import redis.clients.jedis.RedisClient;
import redis.clients.jedis.StreamEntryID;
import redis.clients.jedis.params.XReadParams;
import redis.clients.jedis.resps.StreamEntry;

// paste]
import java.util.ArrayList;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.locks.LockSupport;
import redis.clients.jedis.AbstractTransaction;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.HostAndPort;
import redis.clients.jedis.JedisPubSub;
import redis.clients.jedis.Pipeline;
import redis.clients.jedis.exceptions.JedisException;
import redis.clients.jedis.params.XAutoClaimParams;
import redis.clients.jedis.params.XPendingParams;
import redis.clients.jedis.params.XReadGroupParams;
import redis.clients.jedis.resps.StreamConsumersInfo;
import redis.clients.jedis.resps.StreamGroupInfo;
import redis.clients.jedis.resps.StreamPendingEntry;

/** Jedis, with the settings that it has by default. */
class JedisProgram extends Story {
    public static void main(String[] arguments) throws Exception {
        int handled = 0; // [test]

        // [paste
        RedisClient redis = RedisClient.create("localhost", PORT);
        redis.sendCommand("publish"::getBytes, "orders", "created", "one");
        redis.sendCommand("append"::getBytes, "orders", "0", "paid", "two", "", ""); // if event 0 is its last one
        List<?> page = (List<?>) redis.sendCommand("read"::getBytes, "stream", "orders", "0", "100");
        List<?> events = (List<?>) page.get(1); // from 0 on, at most 100, behind where to go on
        events.forEach(System.out::println); // lists of numbers and byte[]

        StreamEntryID last = new StreamEntryID(0); // XREAD_NEW_ENTRY: what comes from now on
        while (true) {
            var found = redis.xread(XReadParams.xReadParams().block(0), Map.of("orders", last));
            for (StreamEntry entry : found.get(0).getValue()) {
                System.out.println(entry.getID() + " " + entry.getFields()); // 1790000000000-0 {created=one}
                last = entry.getID();
                say("xread", shown(entry.getFields())); // [test]
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
            shown.add(new String((byte[]) fields.get(4)) + "=" + new String((byte[]) fields.get(5)));
        }
        say(shown.toArray());
        patterns(redis);
        channels();
        say("published", redis.publish("news:1", "hello"), shown(redis.xrange("news:1", "-", "+").get(0).getFields()));
        group(redis);
        takeover(redis);
        together(redis);
        outage(redis);
        secure();
        System.exit(0);
    }

    /** Its messages are put into a queue, for whoever subscribes waits until the end. */
    static class Messages extends JedisPubSub {
        final BlockingQueue<String> arrived = new LinkedBlockingQueue<>();
        final CountDownLatch subscribed = new CountDownLatch(1);

        @Override public void onPSubscribe(String pattern, int count) {
            subscribed.countDown();
        }

        @Override public void onPMessage(String pattern, String channel, String message) {
            arrived.add(channel + " " + message);
        }

        @Override public void onSubscribe(String channel, int count) {
            subscribed.countDown();
        }

        @Override public void onMessage(String channel, String message) {
            arrived.add(channel + " " + message);
        }
    }

    static void patterns(RedisClient redis) throws Exception {
        Messages messages = new Messages();
        Thread waiting = new Thread(() -> redis.psubscribe(messages, "ord*"));
        waiting.start();
        messages.subscribed.await();
        say("psubscribed");
        say("psubscribe", messages.arrived.take());
        messages.punsubscribe();
        waiting.join();
    }

    static void channels() throws Exception {
        DefaultJedisClientConfig config = DefaultJedisClientConfig.builder().database(1).build();
        try (RedisClient redis = RedisClient.builder().hostAndPort("localhost", PORT).clientConfig(config).build()) {
            Messages messages = new Messages();
            Thread waiting = new Thread(() -> redis.subscribe(messages, "orders"));
            waiting.start();
            messages.subscribed.await();
            say("subscribed");
            say("subscribe", messages.arrived.take());
            messages.unsubscribe();
            waiting.join();
        }
    }

    static void group(RedisClient redis) {
        say("xadd", redis.xadd("orders", StreamEntryID.NEW_ENTRY, Map.of("closed", "six")).getSequence());
        redis.xgroupCreate("orders", "billing", new StreamEntryID(0), false);
        List<StreamEntry> given = redis.xreadGroup("billing", "ann", XReadGroupParams.xReadGroupParams().count(2),
                Map.of("orders", StreamEntryID.XREADGROUP_UNDELIVERED_ENTRY)).get(0).getValue();
        say("xreadgroup", shown(given.get(0).getFields()), shown(given.get(1).getFields()));
        say("xack", redis.xack("orders", "billing", given.get(0).getID(), given.get(1).getID()));
        say("xpending", redis.xpending("orders", "billing").getTotal());
    }

    /** Bob takes what ann was given and didn't finish, and an operator sees that. */
    static void takeover(RedisClient redis) {
        redis.xreadGroup("billing", "ann", XReadGroupParams.xReadGroupParams().count(1),
                Map.of("orders", StreamEntryID.XREADGROUP_UNDELIVERED_ENTRY));
        List<StreamEntry> claimed = redis.xautoclaim("orders", "billing", "bob", 0, new StreamEntryID(0),
                XAutoClaimParams.xAutoClaimParams()).getValue();
        say("xautoclaim", shown(claimed.get(0).getFields()));
        StreamPendingEntry waiting = redis.xpending("orders", "billing", XPendingParams.xPendingParams("-", "+", 10))
                .get(0);
        say("waits for", waiting.getConsumerName(), waiting.getDeliveredTimes());
        StreamGroupInfo group = redis.xinfoGroups("orders").get(0);
        List<StreamConsumersInfo> consumers = redis.xinfoConsumers("orders", "billing");
        say("xinfo", redis.xinfoStream("orders").getLength(), group.getName(), group.getPending(),
                consumers.get(0).getName(), consumers.get(1).getName());
    }

    /** A pipeline, and what is stored as a whole or not at all. */
    static void together(RedisClient redis) {
        try (Pipeline pipeline = redis.pipelined()) {
            for (int number = 0; number < 100; number++) {
                pipeline.xadd("batch:1", StreamEntryID.NEW_ENTRY, Map.of("counted", String.valueOf(number)));
            }
            say("pipelined", pipeline.syncAndReturnAll().size(), "stored", redis.xlen("batch:1"));
        }
        try (AbstractTransaction transaction = redis.multi()) {
            transaction.xadd("pair", StreamEntryID.NEW_ENTRY, Map.of("debited", "1"));
            transaction.xadd("pair", StreamEntryID.NEW_ENTRY, Map.of("credited", "1"));
            say("multi", transaction.exec().size());
        }
        try (AbstractTransaction transaction = redis.multi()) {
            transaction.xadd("pair", StreamEntryID.NEW_ENTRY, Map.of("debited", "2"));
            transaction.xlen("pair");
            transaction.exec();
        } catch (JedisException refused) {
            say("multi refused", redis.xlen("pair"));
        }
    }

    /** The same client goes on, and a subscription ends with its connection: it is made again. */
    static void outage(RedisClient redis) throws Exception {
        Messages messages = new Messages();
        Thread waiting = new Thread(() -> {
            while (true) {
                try {
                    redis.psubscribe(messages, "ord*");
                } catch (JedisException away) {
                    LockSupport.parkNanos(50_000_000);
                }
            }
        });
        waiting.setDaemon(true);
        waiting.start();
        messages.subscribed.await();
        outage(redis::ping);
        say("psubscribe", messages.arrived.take());
    }

    static void secure() throws Exception {
        DefaultJedisClientConfig config = DefaultJedisClientConfig.builder().user("ann").password("correct horse")
                .ssl(true).sslSocketFactory(trusted().getSocketFactory()).build();
        try (RedisClient redis = RedisClient.builder().hostAndPort(new HostAndPort("localhost", TLS_PORT))
                .clientConfig(config).build()) {
            say("secure", new String((byte[]) redis.sendCommand("acl"::getBytes, "whoami")));
        }
    }
}
