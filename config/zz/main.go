package main
import ("fmt";"os";"strings";"time";"bytes";"io"
"github.com/nikolalohinski/gonja/v2/builtins"
"github.com/nikolalohinski/gonja/v2/config"
"github.com/nikolalohinski/gonja/v2/exec"
"github.com/nikolalohinski/gonja/v2/loaders"
)
func render(src string) (out string, err error) {
 defer func(){ if r:=recover(); r!=nil { err=fmt.Errorf("PANIC %v",r)}}()
 cfg:=config.New(); cfg.StrictUndefined=true; cfg.KeepTrailingNewline=true
 fs:=loaders.MustNewFileSystemLoader("/tmp/exp")
 l,e:=loaders.NewShiftedLoader("main.yaml",strings.NewReader(src),fs)
 if e!=nil {return "",e}
 env:=&exec.Environment{Context: exec.EmptyContext().Update(builtins.GlobalFunctions).Update(builtins.GlobalVariables),Filters:builtins.Filters,Tests:builtins.Tests,ControlStructures:builtins.ControlStructures,Methods:builtins.Methods}
 t,e:=exec.NewTemplate("main.yaml",cfg,l,env)
 if e!=nil {return "",e}
 return t.ExecuteToString(nil)
}
func main(){
 if len(os.Args)>1 { b,_:=io.ReadAll(os.Stdin)
  for _,s:=range bytes.Split(b,[]byte("\n====\n")) {
   o,e:=render(string(s)); fmt.Printf("--- %s\n=> %q  ERR %v\n",s,o,e)
  }
  return }
 var b strings.Builder
 b.WriteString(`{% macro process_website(name, url) %}
- id: crawl_{{ name }}
  title: Crawl {{ name }}
  function: mycrawler:crawl
  kwargs:
    url: {{ url }}
- id: process_{{ name }}
  title: Process {{ name }}
  dependencies: [crawl_{{ name }}]
  function: mycrawler:process
  kwargs:
    input_storage: !retval crawl_{{ name }}
{% endmacro %}
jobs:
{% for i in range(5000) %}
{{ process_website("site_"~i, "http://x/"~i) }}
{% endfor %}
`)
 t:=time.Now(); o,e:=render(b.String()); fmt.Println(len(o),e,time.Since(t)); fmt.Println(o[:500])
 b.Reset()
 b.WriteString("{% macro process_website(name, url) %}\n- id: crawl_{{ name }}\n  kwargs:\n    url: {{ url }}\n- id: process_{{ name }}\n  kwargs:\n    input_storage: !retval crawl_{{ name }}\n{% endmacro %}\njobs:\n")
 for i:=range 5000 { fmt.Fprintf(&b,"{{ process_website(\"site_%d\", \"http://x\") }}\n",i) }
 t=time.Now(); o,e=render(b.String()); fmt.Println(len(o),e,time.Since(t))
}
