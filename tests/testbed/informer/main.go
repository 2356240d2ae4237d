// A client-go informer as the tests run it: what it holds must be what the API server has.
//
// It holds pods and deployments of all namespaces. Over HTTP it says what it holds: the resource version of each object, by kind,
// namespace and name, and how many events it was told. Arguments: a kubeconfig, and the address to listen on.
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

type held struct {
	Synced  bool              `json:"synced"`
	Events  int64             `json:"events"`
	Objects map[string]string `json:"objects"`
}

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(kubeconfig, address string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	all := map[string]cache.SharedIndexInformer{
		"Pod":        factory.Core().V1().Pods().Informer(),
		"Deployment": factory.Apps().V1().Deployments().Informer(),
	}
	var events atomic.Int64
	count := func(any) { events.Add(1) }
	for _, informer := range all {
		handler := cache.ResourceEventHandlerFuncs{
			AddFunc: count, DeleteFunc: count, UpdateFunc: func(any, any) { events.Add(1) },
		}
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	stop := make(chan struct{})
	defer close(stop)
	factory.Start(stop)
	http.HandleFunc("/held", func(out http.ResponseWriter, _ *http.Request) {
		said := held{Synced: true, Events: events.Load(), Objects: map[string]string{}}
		for kind, informer := range all {
			said.Synced = said.Synced && informer.HasSynced()
			for _, object := range informer.GetStore().List() {
				accessor, err := meta.Accessor(object)
				if err != nil {
					http.Error(out, err.Error(), http.StatusInternalServerError)
					return
				}
				name := fmt.Sprintf("%s %s/%s", kind, accessor.GetNamespace(), accessor.GetName())
				said.Objects[name] = accessor.GetResourceVersion()
			}
		}
		if err := json.NewEncoder(out).Encode(said); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	})
	return http.ListenAndServe(address, nil)
}
