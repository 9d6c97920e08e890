// rueidis, with the settings that it has by default.

// [paste
package main

import (
	"context"
	"fmt"

	"github.com/redis/rueidis"
)

// paste]

import (
	"strconv"
	"strings"
	"time"

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
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{"localhost:" + PORT}})
	check(err)
	do := func(words ...string) rueidis.RedisResult {
		return client.Do(ctx, client.B().Arbitrary(words...).Build())
	}
	check(do("publish", "orders", "created", "one").Error())
	check(do("append", "orders", "0", "paid", "two", "", "").Error()) // if event 0 is its last one
	page, err := do("read", "stream", "orders", "0", "100").ToArray() // from 0 on, at most 100
	check(err)
	events, err := page[1].ToArray() // behind where to go on
	check(err)
	for _, event := range events {
		fmt.Println(event.AsStrSlice())
	}

	for last := "0"; ; { // "$": what comes from now on
		streams, err := client.Do(ctx, client.B().Xread().Block(0).Streams().Key("orders").Id(last).Build()).AsXRead()
		check(err)
		for _, entry := range streams["orders"] {
			fmt.Println(entry.ID, entry.FieldValues) // 1790000000000-0 map[created:one]
			last = entry.ID
			story.Say("xread", story.Shown(entry.FieldValues)) // [test]
			handled++                                          // [test]
		}
		if handled == 3 { // [test]
			break // [test]
		} // [test]
	}
	theRest(client, events) // [test]
}

// paste]

func theRest(client rueidis.Client, events []rueidis.RedisMessage) {
	shown := []any{"read"}
	for _, event := range events {
		fields, err := event.AsStrSlice()
		check(err)
		shown = append(shown, fields[4]+"="+fields[5])
	}
	story.Say(shown...)
	message(client, client.B().Psubscribe().Pattern("ord*").Build(), "psubscribe")
	channels, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{"localhost:" + PORT}, SelectDB: 1})
	check(err)
	message(channels, channels.B().Subscribe().Channel("orders").Build(), "subscribe")
	published(client)
	group(client)
	takeover(client)
	together(client)
	if client.DoCache(ctx, client.B().Pttl().Key("orders").Cache(), time.Minute).Error() == nil {
		panic("something was cached, and nobody would tell when it is no longer so")
	}
	outage(client)
	secure()
}

// One message of a subscription, once that is there.
func message(client rueidis.Client, subscribe rueidis.Completed, kind string) {
	dedicated, release := client.Dedicate()
	defer release()
	arrived := make(chan rueidis.PubSubMessage, 1)
	dedicated.SetPubSubHooks(rueidis.PubSubHooks{
		OnSubscription: func(rueidis.PubSubSubscription) { story.Say(kind + "d") },
		OnMessage:      func(message rueidis.PubSubMessage) { arrived <- message },
	})
	check(dedicated.Do(ctx, subscribe).Error())
	got := <-arrived
	story.Say(kind, got.Channel, got.Message)
}

// One that nobody listens for, and that is kept all the same.
func published(client rueidis.Client) {
	receivers, err := client.Do(ctx, client.B().Publish().Channel("news:1").Message("hello").Build()).ToInt64()
	check(err)
	kept, err := client.Do(ctx, client.B().Xrange().Key("news:1").Start("-").End("+").Build()).AsXRange()
	check(err)
	story.Say("published", receivers, story.Shown(kept[0].FieldValues))
}

func group(client rueidis.Client) {
	id, err := client.Do(ctx, client.B().Xadd().Key("orders").Id("*").FieldValue().FieldValue("closed", "six").Build()).
		ToString()
	check(err)
	story.Say("xadd", strings.Split(id, "-")[1])
	check(client.Do(ctx, client.B().XgroupCreate().Key("orders").Group("billing").Id("0").Build()).Error())
	given, err := client.Do(ctx, client.B().Xreadgroup().Group("billing", "ann").Count(2).Streams().Key("orders").
		Id(">").Build()).AsXRead()
	check(err)
	shown, ids := []any{"xreadgroup"}, []string{}
	for _, entry := range given["orders"] {
		shown, ids = append(shown, story.Shown(entry.FieldValues)), append(ids, entry.ID)
	}
	story.Say(shown...)
	acked, err := client.Do(ctx, client.B().Xack().Key("orders").Group("billing").Id(ids...).Build()).ToInt64()
	check(err)
	story.Say("xack", acked)
	pending, err := client.Do(ctx, client.B().Xpending().Key("orders").Group("billing").Build()).ToArray()
	check(err)
	count, err := pending[0].ToInt64()
	check(err)
	story.Say("xpending", count)
}

// Bob takes what ann was given and didn't finish, and an operator sees that.
func takeover(client rueidis.Client) {
	check(client.Do(ctx, client.B().Xreadgroup().Group("billing", "ann").Count(1).Streams().Key("orders").Id(">").
		Build()).Error())
	claimed, err := client.Do(ctx, client.B().Xautoclaim().Key("orders").Group("billing").Consumer("bob").
		MinIdleTime("0").Start("0").Build()).ToArray()
	check(err)
	entries, err := claimed[1].AsXRange()
	check(err)
	story.Say("xautoclaim", story.Shown(entries[0].FieldValues))
	waiting, err := client.Do(ctx, client.B().Xpending().Key("orders").Group("billing").Start("-").End("+").Count(10).
		Build()).ToArray()
	check(err)
	fields, err := waiting[0].ToArray()
	check(err)
	deliveries, err := fields[3].ToInt64()
	check(err)
	story.Say("waits for", text(fields[1]), deliveries)
	inspect(client)
}

func inspect(client rueidis.Client) {
	stream, err := client.Do(ctx, client.B().XinfoStream().Key("orders").Build()).AsMap()
	check(err)
	length := stream["length"]
	groups, err := client.Do(ctx, client.B().XinfoGroups().Key("orders").Build()).ToArray()
	check(err)
	group, err := groups[0].AsMap()
	check(err)
	name, pending := group["name"], group["pending"]
	consumers, err := client.Do(ctx, client.B().XinfoConsumers().Key("orders").Group("billing").Build()).ToArray()
	check(err)
	shown := []any{"xinfo", number(length), text(name), number(pending)}
	for _, consumer := range consumers {
		fields, err := consumer.AsMap()
		check(err)
		shown = append(shown, text(fields["name"]))
	}
	story.Say(shown...)
}

func number(message rueidis.RedisMessage) int64 {
	found, err := message.ToInt64()
	check(err)
	return found
}

func text(message rueidis.RedisMessage) string {
	found, err := message.ToString()
	check(err)
	return found
}

func xadd(client rueidis.Client, key, name, data string) rueidis.Completed {
	return client.B().Xadd().Key(key).Id("*").FieldValue().FieldValue(name, data).Build()
}

func xlen(client rueidis.Client, key string) int64 {
	length, err := client.Do(ctx, client.B().Xlen().Key(key).Build()).ToInt64()
	check(err)
	return length
}

// A pipeline, and what is stored as a whole or not at all.
func together(client rueidis.Client) {
	var adds rueidis.Commands
	for number := 0; number < 100; number++ {
		adds = append(adds, xadd(client, "batch:1", "counted", strconv.Itoa(number)))
	}
	stored := 0
	for _, reply := range client.DoMulti(ctx, adds...) {
		check(reply.Error())
		stored++
	}
	story.Say("pipelined", stored, "stored", xlen(client, "batch:1"))

	pair, err := transaction(client, xadd(client, "pair", "debited", "1"), xadd(client, "pair", "credited", "1"))
	check(err)
	story.Say("multi", len(pair))
	_, err = transaction(client, xadd(client, "pair", "debited", "2"), client.B().Xlen().Key("pair").Build())
	if err != nil {
		story.Say("multi refused", xlen(client, "pair"))
	}
}

func transaction(client rueidis.Client, commands ...rueidis.Completed) ([]rueidis.RedisMessage, error) {
	var replies []rueidis.RedisResult
	check(client.Dedicated(func(dedicated rueidis.DedicatedClient) error {
		all := append(rueidis.Commands{dedicated.B().Multi().Build()}, commands...)
		replies = dedicated.DoMulti(ctx, append(all, dedicated.B().Exec().Build())...)
		return nil
	}))
	return replies[len(replies)-1].ToArray()
}

// The same client goes on, and what it received ends with the connection: it is asked for again.
func outage(client rueidis.Client) {
	arrived := make(chan rueidis.PubSubMessage, 1)
	go func() {
		for {
			subscribe := client.B().Psubscribe().Pattern("ord*").Build()
			_ = client.Receive(ctx, subscribe, func(message rueidis.PubSubMessage) { arrived <- message })
			time.Sleep(50 * time.Millisecond)
		}
	}()
	story.Outage(func() error { return client.Do(ctx, client.B().Ping().Build()).Error() })
	got := <-arrived
	story.Say("psubscribe", got.Channel, got.Message)
}

func secure() {
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{"localhost:" + story.TLSPort}, Username: "ann", Password: "correct horse",
		TLSConfig: story.Trusted()})
	check(err)
	who, err := client.Do(ctx, client.B().AclWhoami().Build()).ToString()
	check(err)
	story.Say("secure", who)
}
