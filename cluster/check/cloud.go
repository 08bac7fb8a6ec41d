package check

func cloudReachable(f *Facts) Result {
	switch {
	case f.Cloud == nil:
		return skip("it was not asked")
	case f.Cloud.Denied:
		return ok("it answers, and refuses the API key")
	case f.Cloud.Err != nil:
		return fail("-c names the context of the cloud that the operator sends to", "%v", f.Cloud.Err)
	}
	return ok("it holds %d pairs", f.Cloud.Pairs)
}

func cloudKey(f *Facts) Result {
	switch {
	case f.Cloud == nil || f.Cloud.Err != nil && !f.Cloud.Denied:
		return skip("the cloud was not reached")
	case f.Cloud.Denied:
		return fail("--api-key, SPEEDSCALE_API_KEY and speedctl init give another one; it needs the scope read", "%v", f.Cloud.Err)
	}
	return ok("for reading")
}

func cloudIntake(f *Facts) Result {
	switch {
	case f.Cloud == nil || f.Cloud.Err != nil:
		return skip("the cloud was not reached")
	case f.Cloud.Refused != "":
		return fail("speedctl upgrade --cloud-set persistence.size=… gives its volume more room, where the storage class allows that, and --cloud-set retention.age=… keeps less", "it takes nothing in: %s", f.Cloud.Refused)
	}
	return ok("it has room")
}
