package redact_test

import (
	"fmt"

	"github.com/jobcontrol/jobcontrol/internal/redact"
)

func Example() {
	r, err := redact.New([]string{"hunter2hunter2"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.String("the password is hunter2hunter2, in base64 aHVudGVyMmh1bnRlcjI="))

	s := r.Stream() // in any pieces
	fmt.Printf("%s|", s.Write([]byte("it is hunter")))
	fmt.Printf("%s|", s.Write([]byte("2hunter2!")))
	fmt.Printf("%s\n", s.Flush())
	// Output:
	// the password is ***, in base64 ***I=
	// it is |***!|
}
