package template
import ("testing";"os";"strings";"encoding/json";"fmt";"context")
func TestMain(m *testing.M){ Child(); os.Exit(m.Run()) }
func TestZZ(t *testing.T){
 b,_:=os.ReadFile(os.Getenv("SNIP"))
 for _,s:=range strings.Split(strings.TrimRight(string(b),"\n"),"\n====\n") {
  out,err:=Render(context.Background(),Input{Name:"f",Text:s},Options{Child:Command()})
  o,es:="",""
  if err!=nil {es=err.Error(); if e,ok:=err.(*Error);ok{es+=" HINT "+e.Hint} else {es="INTERNAL "+es}} else {o=out.Text; if out.Map==nil {es=""; fmt.Fprintf(os.Stderr,"NOMAP %q\n",s)}}
  j,_:=json.Marshal([]string{o,es}); fmt.Println("J"+string(j))
 }
}
