// Traffic of rueidis on a cluster: client HOST:PORT SECONDS.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	seconds, err := strconv.ParseFloat(os.Args[2], 64)
	must(err)
	end := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	ctx := context.Background()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{os.Args[1]}})
	must(err)
	listener, stop := context.WithCancel(ctx)
	var messages atomic.Int64
	go client.Receive(listener, client.B().Subscribe().Channel("news").Build(), func(rueidis.PubSubMessage) {
		messages.Add(1)
	})
	rounds, cached := 0, 0
	for time.Now().Before(end) {
		commands := make(rueidis.Commands, 0, 200)
		for n := range 100 {
			key := "go-" + strconv.Itoa(n)
			commands = append(commands, client.B().Set().Key(key).Value(strconv.Itoa(n)).Build(),
				client.B().Hset().Key("hash-"+key).FieldValue().FieldValue("field", strconv.Itoa(rounds)).Build())
		}
		for _, result := range client.DoMulti(ctx, commands...) {
			must(result.Error())
		}
		// The second read of a key comes from the client's cache, unless the key has changed.
		for n := range 200 {
			read := client.DoCache(ctx, client.B().Get().Key("go-"+strconv.Itoa(n/2)).Cache(), time.Minute)
			must(read.Error())
			if read.IsCacheHit() {
				cached++
			}
		}
		must(client.Dedicated(func(one rueidis.DedicatedClient) error {
			key := "{go}a"
			results := one.DoMulti(ctx, one.B().Multi().Build(), one.B().Incr().Key(key).Build(),
				one.B().Expire().Key(key).Seconds(60).Build(), one.B().Exec().Build())
			return results[len(results)-1].Error()
		}))
		must(client.Do(ctx, client.B().Publish().Channel("news").Message(strconv.Itoa(rounds)).Build()).Error())
		rounds++
	}
	stop()
	client.Close()
	build, _ := debug.ReadBuildInfo()
	report, err := json.Marshal(map[string]any{
		"client": "rueidis " + build.Deps[0].Version, "rounds": rounds, "messages": messages.Load(), "cached": cached,
		"features": "automatic and explicit pipelines, RESP3, client-side cache, MULTI, pub/sub",
	})
	must(err)
	fmt.Println(string(report))
}
