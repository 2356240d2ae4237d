// Command vitals-watch follows the health of entities at a Vitals hub, goes on where it was after a cut, and proves that what
// it holds is what the hub holds. docs/clients.md says why it does what it does.
package main

//go:generate go run ./generate ../../../../proto

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	vitals "example.com/vitals-watch/gen/vitalsv1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	// A watch that says nothing for so long is dead: `progress` comes every 15 s.
	silenceMax = 45 * time.Second
	// Between two connections; it doubles, with jitter.
	pauseMin = 200 * time.Millisecond
	pauseMax = 5 * time.Second
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("vitals-watch: ")
	hub := flag.String("hub", "127.0.0.1:7700", "address of the hub")
	ca := flag.String("tls-ca", "", "file with the roots to trust (PEM); without one, no TLS")
	tokenFile := flag.String("token-file", "", "file with the bearer token")
	namespaces := flag.String("namespaces", "", "namespaces of the entities, separated by commas; empty for all")
	flag.Parse()
	if err := run(*hub, *ca, *tokenFile, *namespaces); err != nil {
		log.Fatal(err)
	}
}

func run(hub, ca, tokenFile, namespaces string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	transport := insecure.NewCredentials()
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("no certificate in %s", ca)
		}
		transport = credentials.NewTLS(&tls.Config{RootCAs: roots})
	}
	if tokenFile != "" {
		if ca == "" {
			return errors.New("a token is not sent without TLS: set -tls-ca")
		}
		token, err := os.ReadFile(tokenFile)
		if err != nil {
			return err
		}
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	// Left alone, the connection itself would wait for up to two minutes after a longer outage.
	soon := grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: pauseMin, Multiplier: 2, Jitter: 0.5, MaxDelay: pauseMax}}
	connection, err := grpc.NewClient(hub, grpc.WithTransportCredentials(transport), grpc.WithConnectParams(soon))
	if err != nil {
		return err
	}
	defer connection.Close()
	filter := &vitals.EntityFilter{}
	if namespaces != "" {
		filter.Namespaces = strings.Split(namespaces, ",")
	}
	f := follower{client: vitals.NewEntityServiceClient(connection), filter: filter}
	f.view.entities = map[string]*vitals.Entity{}
	return f.follow(ctx)
}

// follower watches, and watches again where it was.
type follower struct {
	client vitals.EntityServiceClient
	filter *vitals.EntityFilter
	view   view
	// token of the last `synced` or `progress`, for the same filter; empty asks for a snapshot.
	token []byte
	pause time.Duration
}

// errDiffers says that the view is not the hub's.
var errDiffers = errors.New("the view differs")

func (f *follower) follow(ctx context.Context) error {
	f.pause = pauseMin
	for {
		err := f.watch(ctx)
		if ctx.Err() != nil {
			return nil
		}
		switch status.Code(err) {
		case codes.Unauthenticated, codes.PermissionDenied, codes.InvalidArgument, codes.Unimplemented:
			// Trying again changes nothing.
			return err
		}
		if errors.Is(err, errDiffers) {
			// Nothing is known any more: the next watch begins with a snapshot.
			f.token = nil
		}
		pause := time.Duration(float64(f.pause) * (0.5 + rand.Float64()))
		f.pause = min(2*f.pause, pauseMax)
		log.Printf("%v; again in %v", err, pause.Round(time.Millisecond))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// watch opens one watch and takes its steps until it ends.
func (f *follower) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(silenceMax, func() { cancel(errors.New("the hub is silent")) })
	defer silence.Stop()
	request := &vitals.WatchEntitiesRequest{Filter: f.filter, ResumeToken: f.token}
	stream, err := f.client.WatchEntities(ctx, request)
	if err != nil {
		return err
	}
	for {
		step, err := stream.Recv()
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			if errors.Is(err, io.EOF) {
				return errors.New("the hub ended the watch")
			}
			return err
		}
		silence.Reset(silenceMax)
		f.pause = pauseMin
		if err := f.apply(step); err != nil {
			return err
		}
	}
}

func (f *follower) apply(step *vitals.WatchEntitiesResponse) error {
	switch event := step.Event.(type) {
	case *vitals.WatchEntitiesResponse_Snapshot:
		f.view.beginSnapshot()
		fmt.Println(strings.TrimSpace("snapshot " + event.Snapshot.GetReason()))
	case *vitals.WatchEntitiesResponse_Resumed:
		f.view.beginResume()
		fmt.Println("resumed")
	case *vitals.WatchEntitiesResponse_Upsert:
		entity := event.Upsert
		before, now := "", word(entity)
		if known := f.view.upsert(entity); known != nil {
			before = word(known)
		}
		if before != now {
			fmt.Println(strings.TrimSpace(entity.GetRef() + " " + now + " " + entity.GetVerdict().GetMessage()))
		}
	case *vitals.WatchEntitiesResponse_Removed:
		if f.view.remove(event.Removed.GetRef()) {
			fmt.Println(event.Removed.GetRef(), "gone")
		}
	case *vitals.WatchEntitiesResponse_Synced:
		vanished, err := f.view.synced(event.Synced)
		for _, ref := range vanished {
			fmt.Println(ref, "gone")
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errDiffers, err)
		}
		f.token = event.Synced.GetToken()
		fmt.Printf("synced %d entities, digest %016x\n", event.Synced.GetCount(), event.Synced.GetDigest())
	case *vitals.WatchEntitiesResponse_Progress:
		f.token = event.Progress.GetToken()
		fmt.Println("progress", event.Progress.GetAsOf().AsTime().Format(time.RFC3339))
	}
	// A step of a newer hub, which this program does not know, says nothing that it needs.
	return nil
}

// word is a status as people write it: Healthy.
func word(entity *vitals.Entity) string {
	name := strings.TrimPrefix(entity.GetVerdict().GetStatus().String(), "HEALTH_STATUS_")
	return name[:1] + strings.ToLower(name[1:])
}
