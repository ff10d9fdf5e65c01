package bridge

import (
	"strings"

	"github.com/labstack/echo/v4"
)

// Mount serves the bridge under its prefix on e, and with Config.RPC the POST
// and OPTIONS requests for paths of two segments that no other route has.
// Middleware that compresses, buffers or times out must not cover these routes:
// it breaks WebSockets, held polls and streams.
func (s *Server) Mount(e *echo.Echo) {
	handler := echo.WrapHandler(s)
	e.Any(s.cfg.Prefix+"/*", handler)
	if s.rpc == nil {
		return
	}
	method := func(c echo.Context) error {
		if strings.Contains(c.Param("method"), "/") {
			return echo.ErrNotFound // Echo's last parameter takes the rest of the path
		}
		return handler(c)
	}
	e.POST("/:service/:method", method)
	e.OPTIONS("/:service/:method", method)
}
