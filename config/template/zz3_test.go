package template
import ("testing";"time";"context";"fmt";"strings")
func TestSpeed(t *testing.T){
 head:="{% macro process_website(name, url) %}\n- id: crawl_{{ name }}\n  title: Crawl {{ name }}\n  function: mycrawler:crawl\n  kwargs:\n    url: {{ url }}\n- id: process_{{ name }}\n  title: P {{ name }}\n  dependencies: [crawl_{{ name }}]\n  kwargs:\n    input_storage: !retval crawl_{{ name }}\n{% endmacro %}\njobs:\n"
 for _,n:=range []int{5000,50000} {
 var b strings.Builder; b.WriteString(head)
 for i:=range n { fmt.Fprintf(&b,"{{ process_website(\"site_%d\", \"http://x.example/%d\") }}\n",i,i) }
 in:=map[string]string{"calls":b.String(),"loop":head+fmt.Sprintf("{%% for i in range(%d) %%}{{ process_website('site_'~i, 'http://x') }}\n{%% endfor %%}",n)}
 // literal with little template
 b.Reset(); b.WriteString("{% set x = 1 %}\njobs:\n"); for i:=range 2*n { fmt.Fprintf(&b,"- id: crawl_%d\n  title: Crawl {{ x }} %d\n  function: mycrawler:crawl\n  args: [one, %d]\n  kwargs:\n    url: http://example.com/%d\n    store: !retval crawl_%d\n  dependencies: [crawl_%d]\n  tags: [crawler]\n",i,i,i,i,i-1,i-1) }
 in["lit"]=b.String()
 for k,s:=range in {
  for _,c:=range [][]string{Command(),nil} {
  t0:=time.Now()
  o,err:=Render(context.Background(),Input{Name:"f",Text:s},Options{Child:c})
  if err!=nil {fmt.Println(k,n,err); continue}
  d:=time.Since(t0)
  p,ex,ok:=o.Map.Source(n,7)
  fmt.Printf("%-6s %6d child=%v in=%d out=%d %v map=%v %v %v %v\n",k,n,c!=nil,len(s),len(o.Text),d,o.Map!=nil,p,ex,ok)
  }
 }}
}
