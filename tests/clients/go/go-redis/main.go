// go-redis, with the settings that it has by default.

// [paste
package main

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// paste]

import (
	"strings"

	"meilies.test/clients/story"
)

var PORT = story.Port
var handled = 0

// [paste
var ctx = context.Background()

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	rdb := redis.NewClient(&redis.Options{Addr: "localhost:" + PORT})
	check(rdb.Do(ctx, "publish", "orders", "created", "one").Err())
	check(rdb.Do(ctx, "append", "orders", 0, "paid", "two", "", "").Err()) // if event 0 is its last one
	page, err := rdb.Do(ctx, "read", "stream", "orders", 0, 100).Slice()   // from 0 on, at most 100
	check(err)
	fmt.Println(page...) // where to go on, and events

	for last := "0"; ; { // "$": what comes from now on
		streams, err := rdb.XRead(ctx, &redis.XReadArgs{Streams: []string{"orders", last}, Block: 0}).Result()
		check(err)
		for _, entry := range streams[0].Messages {
			fmt.Println(entry.ID, entry.Values) // 1790000000000-0 map[created:one]
			last = entry.ID
			story.Say("xread", story.Shown(entry.Values)) // [test]
			handled++                                     // [test]
		}
		if handled == 3 { // [test]
			break // [test]
		} // [test]
	}
	theRest(rdb, page[1].([]any)) // [test]
}

// paste]

func theRest(rdb *redis.Client, events []any) {
	shown := []any{"read"}
	for _, event := range events {
		fields := event.([]any)
		shown = append(shown, fmt.Sprintf("%v=%v", fields[4], fields[5]))
	}
	story.Say(shown...)
	patterns(rdb)
	channels(redis.NewClient(&redis.Options{Addr: "localhost:" + PORT, DB: 1}))
	message(rdb)
	group(rdb)
	takeover(rdb)
	together(rdb)
	outage(rdb)
	secure()
}

func patterns(rdb *redis.Client) {
	pubsub := rdb.PSubscribe(ctx, "ord*")
	defer pubsub.Close()
	_, err := pubsub.Receive(ctx)
	check(err)
	story.Say("psubscribed")
	message := <-pubsub.Channel()
	story.Say("psubscribe", message.Channel, message.Payload)
}

func channels(rdb *redis.Client) {
	pubsub := rdb.Subscribe(ctx, "orders")
	defer pubsub.Close()
	_, err := pubsub.Receive(ctx)
	check(err)
	story.Say("subscribed")
	message := <-pubsub.Channel()
	story.Say("subscribe", message.Channel, message.Payload)
}

// One that nobody listens for, and that is kept all the same.
func message(rdb *redis.Client) {
	receivers, err := rdb.Publish(ctx, "news:1", "hello").Result()
	check(err)
	kept, err := rdb.XRange(ctx, "news:1", "-", "+").Result()
	check(err)
	story.Say("published", receivers, story.Shown(kept[0].Values))
}

func group(rdb *redis.Client) {
	id, err := rdb.XAdd(ctx, &redis.XAddArgs{Stream: "orders", Values: []string{"closed", "six"}}).Result()
	check(err)
	story.Say("xadd", strings.Split(id, "-")[1])
	check(rdb.XGroupCreate(ctx, "orders", "billing", "0").Err())
	given, err := rdb.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: "billing", Consumer: "ann", Streams: []string{"orders", ">"}, Count: 2}).Result()
	check(err)
	shown, ids := []any{"xreadgroup"}, []string{}
	for _, entry := range given[0].Messages {
		shown, ids = append(shown, story.Shown(entry.Values)), append(ids, entry.ID)
	}
	story.Say(shown...)
	story.Say("xack", rdb.XAck(ctx, "orders", "billing", ids...).Val())
	pending, err := rdb.XPending(ctx, "orders", "billing").Result()
	check(err)
	story.Say("xpending", pending.Count)
}

// Bob takes what ann was given and didn't finish, and an operator sees that.
func takeover(rdb *redis.Client) {
	check(rdb.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: "billing", Consumer: "ann", Streams: []string{"orders", ">"}, Count: 1}).Err())
	claimed, _, err := rdb.XAutoClaim(ctx, &redis.XAutoClaimArgs{
		Stream: "orders", Group: "billing", Consumer: "bob", Start: "0"}).Result()
	check(err)
	story.Say("xautoclaim", story.Shown(claimed[0].Values))
	waiting, err := rdb.XPendingExt(ctx, &redis.XPendingExtArgs{
		Stream: "orders", Group: "billing", Start: "-", End: "+", Count: 10}).Result()
	check(err)
	story.Say("waits for", waiting[0].Consumer, waiting[0].RetryCount)
	stream, err := rdb.XInfoStream(ctx, "orders").Result()
	check(err)
	groups, err := rdb.XInfoGroups(ctx, "orders").Result()
	check(err)
	consumers, err := rdb.XInfoConsumers(ctx, "orders", "billing").Result()
	check(err)
	story.Say("xinfo", stream.Length, groups[0].Name, groups[0].Pending, consumers[0].Name, consumers[1].Name)
}

// A pipeline, and what is stored as a whole or not at all.
func together(rdb *redis.Client) {
	ids, err := rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for number := 0; number < 100; number++ {
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: "batch:1", Values: []any{"counted", number}})
		}
		return nil
	})
	check(err)
	story.Say("pipelined", len(ids), "stored", rdb.XLen(ctx, "batch:1").Val())
	pair, err := rdb.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.XAdd(ctx, &redis.XAddArgs{Stream: "pair", Values: []string{"debited", "1"}})
		pipe.XAdd(ctx, &redis.XAddArgs{Stream: "pair", Values: []string{"credited", "1"}})
		return nil
	})
	check(err)
	story.Say("multi", len(pair))
	_, err = rdb.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.XAdd(ctx, &redis.XAddArgs{Stream: "pair", Values: []string{"debited", "2"}})
		pipe.XLen(ctx, "pair")
		return nil
	})
	if err != nil {
		story.Say("multi refused", rdb.XLen(ctx, "pair").Val())
	}
}

// The same client and the same subscription go on.
func outage(rdb *redis.Client) {
	pubsub := rdb.PSubscribe(ctx, "ord*")
	defer pubsub.Close()
	_, err := pubsub.Receive(ctx)
	check(err)
	messages := pubsub.Channel()
	story.Outage(func() error { return rdb.Ping(ctx).Err() })
	message := <-messages
	story.Say("psubscribe", message.Channel, message.Payload)
}

func secure() {
	rdb := redis.NewClient(&redis.Options{
		Addr: "localhost:" + story.TLSPort, Username: "ann", Password: "correct horse", TLSConfig: story.Trusted()})
	who, err := rdb.Do(ctx, "acl", "whoami").Text()
	check(err)
	story.Say("secure", who)
}
