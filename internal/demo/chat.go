package demo

import (
	"errors"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/internal/demo/demopb"
)

// Limits of the chat, as documented in demo.proto.
const (
	maxRoomName   = 40
	maxMemberName = 40
	maxSay        = 1_000
	maxMembers    = 100
	maxRooms      = 1_000
	maxBehind     = 64 // queued events of one member
)

type chatStream = grpc.BidiStreamingServer[demopb.ChatRequest, demopb.ChatEvent]

// Chat serves one member. The goroutines that read and write the stream end with
// it: gRPC fails their calls once Chat has returned. Chat does not wait for them,
// because a member that reads nothing blocks the writer and must be dropped
// nevertheless.
func (s *service) Chat(stream chatStream) error {
	join, err := recvJoin(stream)
	if err != nil {
		return err
	}
	m, err := s.chat.join(join.GetRoom(), join.GetName())
	if err != nil {
		return err
	}
	defer s.chat.leave(m)

	ended := make(chan error, 2) // one for each goroutine: neither ever blocks
	go func() { ended <- s.chat.listen(m, stream) }()
	go func() { ended <- m.write(stream) }()
	select {
	case err := <-ended:
		return err
	case <-m.dropped:
		return m.behind()
	case <-stream.Context().Done():
		return status.FromContextError(stream.Context().Err()).Err()
	}
}

func recvJoin(stream chatStream) (*demopb.ChatRequest_Join, error) {
	in, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return nil, status.Error(codes.InvalidArgument, "join: the first message must join a room, there was none")
	}
	if err != nil {
		return nil, err
	}
	join := in.GetJoin()
	if join == nil {
		return nil, status.Error(codes.InvalidArgument, "join: the first message must join a room")
	}
	if err := checkText("join.room", join.GetRoom(), 1, maxRoomName); err != nil {
		return nil, err
	}
	return join, checkText("join.name", join.GetName(), 1, maxMemberName)
}

// chat holds the rooms. A room exists as long as it has members.
type chat struct {
	mu    sync.Mutex
	rooms map[string][]*member // by name, in the order of joining
}

// member is one RPC in a room.
type member struct {
	room, name string
	events     chan *demopb.ChatEvent // only chat.publish sends
	dropped    chan struct{}          // closed by chat.publish when the member is too far behind
}

func newChat() *chat {
	return &chat{rooms: make(map[string][]*member)}
}

// join adds a member to a room and announces it there.
func (c *chat) join(room, name string) (*member, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	members := c.rooms[room]
	if len(members) == 0 && len(c.rooms) == maxRooms {
		return nil, status.Errorf(codes.ResourceExhausted, "join.room: there are %d rooms already, which is the limit", maxRooms)
	}
	if len(members) == maxMembers {
		return nil, status.Errorf(codes.ResourceExhausted, "join.room: %q has %d members already, which is the limit", room, maxMembers)
	}
	m := &member{
		room:    room,
		name:    freeName(members, name),
		events:  make(chan *demopb.ChatEvent, maxBehind),
		dropped: make(chan struct{}),
	}
	c.rooms[room] = append(members, m)
	names := c.names(room)
	c.publish([]*member{m}, &demopb.ChatEvent{Kind: demopb.ChatEvent_KIND_WELCOME, Name: m.name, Members: names})
	c.publish(members, &demopb.ChatEvent{Kind: demopb.ChatEvent_KIND_JOINED, Name: m.name, Members: names})
	return m, nil
}

// leave removes a member from its room, if it is there, and announces that.
func (c *chat) leave(m *member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(m)
}

// say publishes a message of m to its whole room, m included.
func (c *chat) say(m *member, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.publish(c.rooms[m.room], &demopb.ChatEvent{Kind: demopb.ChatEvent_KIND_SAID, Name: m.name, Text: text})
}

// remove removes m and announces that. It reports whether m was there. c.mu is
// held.
func (c *chat) remove(m *member) bool {
	i := slices.Index(c.rooms[m.room], m)
	if i < 0 {
		return false
	}
	// A copy: a publish further up the stack may be iterating over the old slice.
	rest := slices.Delete(slices.Clone(c.rooms[m.room]), i, i+1)
	if len(rest) == 0 {
		delete(c.rooms, m.room)
		return true
	}
	c.rooms[m.room] = rest
	c.publish(rest, &demopb.ChatEvent{Kind: demopb.ChatEvent_KIND_LEFT, Name: m.name, Members: c.names(m.room)})
	return true
}

// publish queues an event for members and drops those whose queue is full. c.mu is
// held.
func (c *chat) publish(members []*member, event *demopb.ChatEvent) {
	event.TimeMs = time.Now().UnixMilli()
	var slow []*member
	for _, m := range members {
		select {
		case m.events <- event:
		default:
			slow = append(slow, m)
		}
	}
	for _, m := range slow {
		if c.remove(m) {
			close(m.dropped)
		}
	}
}

// names returns the names of the members of a room. c.mu is held.
func (c *chat) names(room string) []string {
	names := make([]string, 0, len(c.rooms[room]))
	for _, m := range c.rooms[room] {
		names = append(names, m.name)
	}
	return names
}

// listen publishes the member's messages until it half-closes.
func (c *chat) listen(m *member, stream chatStream) error {
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if in.GetJoin() != nil {
			return status.Errorf(codes.InvalidArgument, "join: already in room %q", m.room)
		}
		if err := checkText("say", in.GetSay(), 1, maxSay); err != nil {
			return err
		}
		c.say(m, in.GetSay())
	}
}

// write sends the member its events until a Send fails or it is dropped.
func (m *member) write(stream chatStream) error {
	for {
		select {
		case event := <-m.events:
			if err := stream.Send(event); err != nil {
				return err
			}
		case <-m.dropped:
			return m.behind()
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}

// behind returns the status of a dropped member.
func (m *member) behind() error {
	return status.Errorf(codes.ResourceExhausted, "dropped from room %q: %d events behind, which is the limit", m.room, maxBehind)
}

// freeName returns name, with a number appended if a member has it already.
func freeName(members []*member, name string) string {
	taken := func(name string) bool {
		return slices.ContainsFunc(members, func(m *member) bool { return m.name == name })
	}
	free := name
	for n := 2; taken(free); n++ {
		free = name + " " + strconv.Itoa(n)
	}
	return free
}
