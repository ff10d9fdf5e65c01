package cluster

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/pollbridge/pollbridge/internal/cluster/clusterpb"
)

// Identity is what a bridge found out about a client.
type Identity struct {
	Name         string
	Expires      time.Time // zero: never
	Metadata     map[string][]string
	AllowMethods []string // nil: no restriction
}

// Refusal is the error for a client that is refused at the bridge where its link
// landed. Its text is meant for the client.
type Refusal struct {
	Text     string
	TryLater bool
}

func (e *Refusal) Error() string { return e.Text }

// askLimit is how long the owner waits for an Answer.
const askLimit = 10 * time.Second

type askerKey struct{}

func withAsker(ctx context.Context, l *inLink) context.Context {
	return context.WithValue(ctx, askerKey{}, l)
}

// Ask asks the bridge where a link landed who its client is. ctx is that of Accept
// or Deliver; ok is false if the link landed here. The error is a *Refusal.
func Ask(ctx context.Context, token string) (who Identity, ok bool, err error) {
	l, _ := ctx.Value(askerKey{}).(*inLink)
	if l == nil {
		return Identity{}, false, nil
	}
	who, err = l.ask(ctx, token)
	return who, true, err
}

var errNoAnswer = &Refusal{Text: "the bridge cannot find out now who the client is", TryLater: true}

// ask asks the other side. One goroutine asks at a time: the one that takes in.
func (l *inLink) ask(ctx context.Context, token string) (Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	answered := make(chan *pb.Answer, 1)
	l.mu.Lock()
	l.questions++
	m := &pb.Message{Question: &pb.Question{Number: l.questions, Token: token}}
	fits := l.c.fits(m)
	if fits {
		l.answered = answered
		l.say(m)
	}
	l.mu.Unlock()
	if !fits {
		return Identity{}, &Refusal{Text: "the token is too long for this cluster"}
	}
	select {
	case a := <-answered:
		return identityOf(a)
	case <-ctx.Done():
		return Identity{}, errNoAnswer
	}
}

// answer answers the owner's question, in a goroutine: Authenticate may wait.
func (l *outLink) answer(q *pb.Question) {
	if l.hello == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asking != nil || l.over {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.asking = cancel
	l.c.start(func() {
		defer cancel()
		who, err := l.c.cfg.Authenticate(ctx, *l.hello, q.Token)
		m := &pb.Message{Answer: answerOf(who, err)}
		if !l.c.fits(m) {
			m.Answer = answerOf(Identity{}, errNoAnswer)
			l.c.cfg.Logger.Error("a principal is too long for this cluster", "principal", who.Name, "limit", l.c.cfg.Fabric.MaxPayload())
		}
		m.Answer.Number = q.Number
		l.mu.Lock()
		l.asking = nil
		l.mu.Unlock()
		if err := l.send(m); err != nil {
			l.fail(err)
		}
	})
}

// fits reports whether m, which has no batch, can be sent.
func (c *Cluster) fits(m *pb.Message) bool {
	return proto.Size(m) <= c.cfg.Fabric.MaxPayload()-headRoom
}

func answerOf(who Identity, err error) *pb.Answer {
	if err != nil {
		a := &pb.Answer{Refused: strings.ToValidUTF8(err.Error(), "\ufffd")}
		if refusal, ok := errors.AsType[*Refusal](err); ok {
			a.TryLater = refusal.TryLater
		}
		return a
	}
	a := &pb.Answer{Name: []byte(who.Name), AllowMethods: who.AllowMethods, Restricted: who.AllowMethods != nil}
	if !who.Expires.IsZero() {
		a.Expires = who.Expires.UnixMicro()
	}
	for key, values := range who.Metadata {
		md := &pb.Metadatum{Key: key}
		for _, v := range values {
			md.Values = append(md.Values, []byte(v))
		}
		a.Metadata = append(a.Metadata, md)
	}
	return a
}

func identityOf(a *pb.Answer) (Identity, error) {
	if a.Refused != "" {
		return Identity{}, &Refusal{Text: a.Refused, TryLater: a.TryLater}
	}
	who := Identity{Name: string(a.Name), Metadata: make(map[string][]string, len(a.Metadata))}
	if a.Restricted {
		who.AllowMethods = append([]string{}, a.AllowMethods...)
	}
	if a.Expires != 0 {
		who.Expires = time.UnixMicro(a.Expires)
	}
	for _, md := range a.Metadata {
		values := make([]string, len(md.Values))
		for i, v := range md.Values {
			values[i] = string(v)
		}
		who.Metadata[md.Key] = values
	}
	return who, nil
}

// digestOf tells one Authorization of a request from another. Nil: it has none.
func digestOf(header http.Header) []byte {
	value := header.Get("Authorization")
	if value == "" {
		return nil
	}
	sum := sha256.Sum256([]byte(value))
	return sum[:]
}
